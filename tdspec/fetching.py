"""Downloading what a spec needs: presets and data.

In: a document. Out: what was fetched, line by line, with places and hashes.
Leaves out: how a preset (`graph/presets.py`) or a data set (`data/download.py`) is fetched.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from tdspec.data.download import fetch as fetch_data
from tdspec.graph.presets import fetch_preset
from tdspec.graph.weights import presets_of
from tdspec.run.teachers import named_specs
from tdspec.spec.load import Document
from tdspec.spec.paths import OWN_TOKENIZER


def fetch_all(document: Document) -> Iterator[str]:
    """Download all that a spec and the specs it names need; a line for each thing, with its place and hash."""
    for other in named_specs(document).values():
        yield from fetch_all(other)
    for preset in presets_named(document):
        folder = fetch_preset(preset)
        yield f"preset {preset}: {folder} (sha256 {_folder_sha256(folder)})"
    data = document.spec.data
    place = fetch_data(source=data.source, name=data.name, path=data.path)
    yield f"data {data.name or data.path or data.source}: {place}"


def presets_named(document: Document) -> list[str]:
    """The presets that a spec names, for backbones, weights or tokenizers."""
    spec = document.spec
    parts = [part for part in (spec.teacher, *spec.teachers, spec.student) if part is not None]
    tokenizers = [part.input.tokenizer for part in parts if part.input.tokenizer != OWN_TOKENIZER]
    named = [preset for part in parts for preset in presets_of(part.backbone)]
    return [*named, *(preset for preset in tokenizers if preset not in named)]


def _folder_sha256(folder: Path) -> str:
    digest = hashlib.sha256()
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(file.relative_to(folder).as_posix().encode())
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()
