"""What is installed, which devices there are, what a spec still needs.

In: this machine, and a `Document`. Out: lines for people. Uses no network.
Leaves out: getting what is missing (`fetch`, `train`).
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
from collections.abc import Iterator
from pathlib import Path

import tensorflow as tf

from tdspec.errors import GraphError
from tdspec.fetching import presets_named
from tdspec.graph.presets import preset_folder
from tdspec.run.teachers import named_specs, trained_run
from tdspec.serve.export import ONNX_PACKAGES
from tdspec.spec.load import Document

PACKAGES = ("tdspec", "keras", "keras-hub", "tensorflow", "tensorflow-datasets", "jsonschema", "pyyaml", "absl-py")

# Modules that an export format needs beside the extra `train`.
FORMAT_MODULES = {"saved_model": (), "litert": (), "onnx": ONNX_PACKAGES}


def lines_about_machine() -> Iterator[str]:
    """Versions and devices."""
    yield f"python {platform.python_version()} on {platform.system()} {platform.machine()}"
    for package in PACKAGES:
        yield f"{package} {importlib.metadata.version(package)}"
    for device in tf.config.list_physical_devices():
        yield f"device {device.device_type}: {device.name}"
    yield f"cores: {os.cpu_count()}"


def lines_about_spec(document: Document, root: Path) -> Iterator[str]:
    """What `tdspec train` of a spec would still have to get or make.

    Args:
        document: the spec.
        root: the folder of all runs.
    """
    name = document.spec.name
    for preset in presets_named(document):
        try:
            preset_folder(preset)
        except GraphError as error:
            yield f"{name}: {error.message}; {error.hint}"
    data = document.spec.data
    if data.source != "tfds" and data.path is not None and not Path(data.path).exists():
        yield f"{name}: data.path {data.path} does not exist"
    for export_format in document.spec.export.formats:
        for module in FORMAT_MODULES[export_format]:
            if importlib.util.find_spec(module) is None:
                yield f"{name}: export to {export_format} needs the package {module}"
    for side, other in named_specs(document).items():
        if trained_run(other, root) is None:
            yield f"{name}: {side} '{other.spec.name}' has no run of this spec in {root}; train makes it first"
        yield from lines_about_spec(other, root)
