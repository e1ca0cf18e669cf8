"""A resolved spec as YAML.

In: a `Document`. Out: text with every default written out, which loads to an equal spec wherever it is written.
Leaves out: the user's comments and layout.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from tdspec.spec.paths import map_paths, relative
from tdspec.spec.scalars import FLOAT, PREFIXED
from tdspec.spec.source import KeyPath

if TYPE_CHECKING:
    from tdspec.spec.load import Document

WIDTH = 120


class _Dumper(yaml.SafeDumper):
    """Writes text in quotes where either YAML 1.1 or YAML 1.2 would read something else; never an alias."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent_list(dumper: _Dumper, items: list[Any]) -> yaml.Node:
    return dumper.represent_sequence("tag:yaml.org,2002:seq", items, flow_style=True)


# PyYAML knows YAML 1.1's numbers only; to it 1e-3 and 0o17 are text that needs no quotes.
_Dumper.add_implicit_resolver("tag:yaml.org,2002:float", FLOAT, list("-+.0123456789"))
_Dumper.add_implicit_resolver("tag:yaml.org,2002:int", PREFIXED, list("0"))
_Dumper.add_representer(list, _represent_list)


def render(document: Document, folder: Path, *, named: Mapping[KeyPath, str] | None = None) -> str:
    """The resolved spec as YAML text, deterministic, keys in the schema's order.

    Args:
        document: a loaded spec.
        folder: where the text will be written; paths are made relative to it.
        named: texts for some paths, by key path, instead of where they are now.
    """
    old_folder = os.path.dirname(os.path.abspath(document.source.file))
    texts = named or {}

    def moved(key_path: KeyPath, text: str) -> str:
        return texts[key_path] if key_path in texts else relative(key_path, text, old_folder, str(folder))

    values = map_paths(document.values, moved)
    return yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=WIDTH)
