"""A spec with the specs it names, as files of one folder that can be moved anywhere.

In: a `Document`. Out: texts by file name. Leaves out: data, presets and weight files, to which paths still lead.
"""

from __future__ import annotations

import os
from pathlib import Path

from tdspec.spec.load import Document, load
from tdspec.spec.paths import absolute, paths_in
from tdspec.spec.render import render
from tdspec.spec.source import KeyPath

SPEC = "spec.yaml"


def bundle(document: Document, folder: Path, name: str = SPEC) -> dict[str, str]:
    """The resolved spec, and beside it each spec that it names: `spec.yaml`, `spec.teacher.yaml`, ...

    Args:
        document: a loaded spec.
        folder: where the files will be written.
        name: the file name of the spec itself.

    Returns:
        Texts by file name; each loads to an equal spec with the same content hash.
    """
    old_folder = os.path.dirname(os.path.abspath(document.source.file))
    files: dict[str, str] = {}
    named: dict[KeyPath, str] = {}
    for key_path, text in paths_in(document.values):
        if key_path[-1] == "spec":
            side = key_path[0] if key_path[0] != "teachers" else document.values["teachers"][key_path[1]]["name"]
            named[key_path] = f"{name.removesuffix('.yaml')}.{side}.yaml"
            files |= bundle(load(absolute(key_path, text, old_folder)), folder, named[key_path])
    return {name: render(document, folder, named=named), **files}
