"""Where keras-hub presets lie on this machine; nothing here uses the network but `fetch_preset`.

In: a folder or the name of a preset. Out: the folder that holds it.
Leaves out: reading it (`backbones.py`, `weights.py`).
"""

from __future__ import annotations

import difflib
from pathlib import Path

import kagglehub
import keras_hub
from kagglehub.config import get_cache_folder

from tdspec.errors import GraphError


def preset_folder(preset: str) -> Path:
    """The folder of a preset that is on this machine.

    Args:
        preset: a folder, or a name that keras-hub knows.

    Raises:
        GraphError: the folder is missing or has no config, the name is unknown, or it was never fetched.
    """
    folder = Path(preset)
    if folder.is_dir():
        if not any((folder / name).is_file() for name in ("config.json", "tokenizer.json")):
            raise GraphError(f"preset folder '{preset}' has no config.json")
        return folder
    known = keras_hub.models.Backbone.presets
    if preset not in known:
        near = difflib.get_close_matches(preset, known, n=1, cutoff=0.5)
        hint = (
            f"did you mean '{near[0]}'?" if near else "write a folder, or a name from keras_hub.models.Backbone.presets"
        )
        raise GraphError(f"no preset folder or name '{preset}'", hint)
    cached = Path(get_cache_folder()) / "models" / _handle(preset)
    if not (cached / "config.json").is_file():
        raise GraphError(
            f"preset '{preset}' is not on this machine",
            "`tdspec fetch SPEC` gets it; or write class: and config: instead, and weights: {preset: ...}",
        )
    return cached


def _handle(preset: str) -> str:
    return str(keras_hub.models.Backbone.presets[preset]["kaggle_handle"]).removeprefix("kaggle://")


def fetch_preset(preset: str) -> Path:
    """Download a preset by its name, with the library's own progress bar; a folder is returned as it is.

    Raises:
        GraphError: the name is unknown, or the download fails.
    """
    if Path(preset).is_dir() or preset not in keras_hub.models.Backbone.presets:
        return preset_folder(preset)
    try:
        return Path(kagglehub.model_download(_handle(preset)))
    except (OSError, ValueError) as error:
        raise GraphError(f"preset '{preset}' cannot be downloaded: {error}", "is the network reachable?") from error
