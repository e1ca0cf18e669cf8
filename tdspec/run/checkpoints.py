"""Checkpoints that are complete or absent.

In: a folder and all variables of a run by name. Out: `epoch-0003/` for the last epochs and `best/`, each a
`tf.train.Checkpoint` that `tf.train.load_checkpoint(folder)` reads, with the variables' names as keys.
A folder is written under a temporary name, flushed to the disk and renamed, so a process may be killed at any moment.
Leaves out: which epoch is the best (the caller knows), and several processes that write to one folder (`run_dir.lock`).
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf
from absl import logging

from tdspec.errors import RunError
from tdspec.run.run_dir import flush_entry

PREFIX = "state"
BEST = "best"
REPLACED = ".replaced-"
TEMPORARY = ".temporary-"


class _Root(tf.Module):
    """Holds the nested names; only what is assigned to a trackable becomes part of a checkpoint."""

    def __init__(self, names: dict[str, Any]):
        super().__init__()
        self.names = names


class Checkpoints:
    """Saves and restores `variables` in `folder`.

    Args:
        folder: made when it is missing; what a killed process left half-done in it is removed.
        variables: everything that training changes, by name. A "/" in a name makes a level of the checkpoint's keys.
        keep: how many of the last epochs stay, beside the best.

    Raises:
        ValueError: one name is the folder of another ("a" and "a/b").
    """

    def __init__(self, folder: Path, variables: Mapping[str, keras.Variable], *, keep: int = 2):
        self._folder = folder
        self._keep = keep
        self._checkpoint = tf.train.Checkpoint(root=_Root(_nest(variables)).names)
        # As a graph, made once: looking through all variables anew takes longer than an epoch of a small table.
        self._write = tf.function(self._checkpoint.write)
        folder.mkdir(parents=True, exist_ok=True)
        _clean(folder)

    def save(self, epoch: int, *, is_best: bool) -> None:
        """Write the state after `epoch`, and drop the epochs before the last `keep`."""
        final = self._epoch_folder(epoch)
        temporary = _temporary_folder(final)
        self._write(tf.constant(str(temporary / PREFIX)))
        # TensorFlow's name for "the checkpoint in this folder"; the relative path survives the rename.
        (temporary / "checkpoint").write_text(f'model_checkpoint_path: "{PREFIX}"\n', encoding="utf-8")
        (temporary / "epoch.json").write_text(json.dumps({"epoch": epoch}) + "\n", encoding="utf-8")
        # The best goes first: killed in between, the epoch is run again and finds itself the best again.
        if is_best:
            best = self._folder / BEST
            _publish(shutil.copytree(temporary, _temporary_folder(best), dirs_exist_ok=True), best)
        _publish(temporary, final)
        for old in self._epochs()[: -self._keep]:
            _remove(self._epoch_folder(old))

    def restore_last(self) -> int | None:
        """Set all variables from the newest checkpoint that is whole.

        Returns:
            Its epoch, or None where there is no checkpoint.

        Raises:
            RunError: there are checkpoints and all are damaged, or they are of other variables.
        """
        epochs = self._epochs()
        for epoch in reversed(epochs):
            folder = self._epoch_folder(epoch)
            if _is_whole(folder):
                self._restore(folder)
                return epoch
            logging.error("checkpoint %s is damaged; falling back to the one before", folder)
        if epochs:
            raise RunError(f"all {len(epochs)} checkpoints in {self._folder} are damaged", "train anew")
        return None

    def restore_best(self) -> int:
        """Set all variables from the best checkpoint and return its epoch.

        Raises:
            RunError: there is none, it is damaged, or it is of other variables.
        """
        folder = self._folder / BEST
        if not folder.is_dir():
            raise RunError(f"no checkpoint {folder}", "it is written after the first epoch; train first")
        if not _is_whole(folder):
            raise RunError(f"checkpoint {folder} is damaged", "restore the folder, or train anew")
        self._restore(folder)
        return int(json.loads((folder / "epoch.json").read_text(encoding="utf-8"))["epoch"])

    def _restore(self, folder: Path) -> None:
        try:
            status = self._checkpoint.read(str(folder / PREFIX))
            status.expect_partial().assert_consumed()
        except (AssertionError, ValueError) as error:
            reason = str(error).strip().splitlines()[0]
            raise RunError(
                f"checkpoint {folder} is of other variables: {reason}", "resume with the spec it was trained with"
            ) from None

    def _epoch_folder(self, epoch: int) -> Path:
        return self._folder / f"epoch-{epoch:04d}"

    def _epochs(self) -> list[int]:
        names = (re.fullmatch(r"epoch-(\d{4,})", path.name) for path in self._folder.iterdir())
        return sorted(int(match.group(1)) for match in names if match)


def _nest(variables: Mapping[str, keras.Variable]) -> dict[str, Any]:
    """{"a/b": x, "a/c": y} -> {"a": {"b": x, "c": y}}; nested names are the keys that a checkpoint shows."""
    root: dict[str, Any] = {}
    for name, variable in variables.items():
        *levels, leaf = name.split("/")
        node = root
        for level in levels:
            node = node.setdefault(level, {})
            if not isinstance(node, dict):
                raise ValueError(f"variable {name!r} lies below another variable")
        if leaf in node:
            raise ValueError(f"variable {name!r} lies above another variable")
        node[leaf] = variable
    return root


def _is_whole(folder: Path) -> bool:
    """Whether every tensor can be read; TensorFlow checks a checksum of each."""
    try:
        json.loads((folder / "epoch.json").read_text(encoding="utf-8"))
        reader = tf.train.load_checkpoint(str(folder / PREFIX))
        for name in reader.get_variable_to_shape_map():
            reader.get_tensor(name)
    except (tf.errors.OpError, OSError, ValueError, IndexError, RuntimeError):
        # TensorFlow's reader says "data end too early" by IndexError, and what it cannot place by RuntimeError.
        return False
    return True


def _temporary_folder(final: Path) -> Path:
    """A new, empty folder beside `final`; an earlier save that failed may have left one."""
    folder = final.with_name(TEMPORARY + final.name)
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir()
    return folder


def _publish(temporary: Path, final: Path) -> None:
    """Give a finished folder its name, in place of what has it now."""
    for path in temporary.iterdir():
        flush_entry(path)
    flush_entry(temporary)
    replaced = final.with_name(REPLACED + final.name)
    if final.exists():
        final.rename(replaced)
    temporary.rename(final)
    flush_entry(final.parent)
    if replaced.exists():
        shutil.rmtree(replaced)


def _remove(folder: Path) -> None:
    """Delete a folder so that no part of it is ever left under its name."""
    doomed = folder.with_name(TEMPORARY + folder.name)
    folder.rename(doomed)
    shutil.rmtree(doomed)


def _clean(folder: Path) -> None:
    """Undo what a killed process left: put back a folder whose successor never came, remove the rest."""
    for path in folder.glob(f"{REPLACED}*"):
        final = path.with_name(path.name.removeprefix(REPLACED))
        if final.exists():
            shutil.rmtree(path)
        else:
            path.rename(final)
    for path in folder.glob(f"{TEMPORARY}*"):
        shutil.rmtree(path)
