"""What is found out about a teacher, named by all that it depends on, so that runs share it.

In: a `Compiled` with one teacher and its weights, and the examples it is shown. Out: names of files.
Leaves out: what is found out, and reading it (`teacher_check.py`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras

from tdspec.data.identity import inputs_sha256
from tdspec.data.split import Split
from tdspec.graph.compiler import Compiled
from tdspec.graph.plan import versions
from tdspec.graph.weights import weights_sha256
from tdspec.spec.load import Document, load
from tdspec.spec.paths import last_component, map_paths
from tdspec.spec.source import KeyPath

FORMAT = 1
FOLDER = "teacher_checks"


def folder_of_checks(root: Path) -> Path:
    """Where it is kept what was found out about teachers, below the folder of all runs."""
    return root / FOLDER


def check_key(compiled: Compiled, model: keras.Model, parts: Mapping[str, Split], seed: int | None) -> str:
    """The name of what a model that is part of the teacher says of examples.

    Args:
        compiled: with one teacher.
        model: what is run; all of its weights count.
        parts: what it is run on, by purpose.
        seed: where it decides on more than the examples.
    """
    spec = compiled.document.spec
    columns = list(model.input)
    key = {
        "format": FORMAT,
        "versions": versions(),
        "teacher": teacher_words(compiled),
        "weights_sha256": weights_sha256(model),
        "precision": compiled.distiller.dtype_policy.name,
        "task": [spec.task.type, compiled.num_classes],
        "batch_size": spec.data.batch_size,
        "parts": {name: _part_key(part, columns) for name, part in parts.items()},
        "seed": seed,
    }
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]


def teacher_words(compiled: Compiled) -> dict[str, Any]:
    """What the spec says about the backbone, its input and its head; specs by their content."""
    document = compiled.document
    values = map_paths(document.values, lambda path, text: _stand_in(document, path, text))["teacher"]
    return {key: values[key] for key in ("backbone", "input", "head", "class_map") if key in values}


def _stand_in(document: Document, path: KeyPath, text: str) -> str:
    if path == ("teacher", "backbone", "spec"):
        return load(document.spec.teacher.backbone.spec).sha256  # type: ignore[union-attr]
    return last_component(text)


def _part_key(part: Split, columns: list[str]) -> list[str]:
    labels = b"" if part.labels is None else part.labels.tobytes()
    return [inputs_sha256(part, columns), hashlib.sha256(labels + part.weights.tobytes()).hexdigest()]
