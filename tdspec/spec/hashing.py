"""The content of a spec as a hash.

In: a resolved spec and the hashes of the specs it names. Out: a sha256 that says whether two specs mean the same.
Leaves out: where the spec and its files lie, the order of keys (but for an mlp's features: it is that of the columns).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from tdspec.spec.paths import last_component, map_paths, models_in
from tdspec.spec.source import KeyPath, dotted


def content_hash(values: Mapping[str, Any], references: Mapping[str, str]) -> str:
    """The sha256 of a resolved spec, as hexadecimal text.

    Args:
        values: the spec with every default, in the schema's order of keys.
        references: the hash of the spec that a model's backbone names, by the model's key ("teacher", "teachers[0]").
    """

    def stand_in(key_path: KeyPath, text: str) -> str:
        return references[dotted(key_path[:-2])] if key_path[-1] == "spec" else last_component(text)

    content = map_paths(values, stand_in)
    content["data"]["where"] = _sorted(content["data"]["where"])
    for _, part in models_in(content):
        if "config" in part["backbone"]:
            part["backbone"]["config"] = _sorted(part["backbone"]["config"])
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    return [_sorted(item) for item in value] if isinstance(value, list) else value
