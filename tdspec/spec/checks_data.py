"""Rules about data and task that the schema cannot say.

In: `Facts`. Out: problems.
Leaves out: whether the data exist and fit (`data/`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from tdspec.spec.facts import Check, Facts
from tdspec.spec.paths import absolute_paths
from tdspec.spec.problems import Problem
from tdspec.spec.words import found, quoted

PARTS = ("train", "validation", "test")
SLICE = re.compile(r"[^\[\]+]+(\[[^\[\]+]+\])?(\+[^\[\]+]+(\[[^\[\]+]+\])?)*")
DIGITS_SLICE = re.compile(r"all(\[[^\[\]+]*\])?(\+all(\[[^\[\]+]*\])?)*")
TOLERANCE = 1e-9
KEYS_NEEDED = {"tfds": "name", "csv": "path", "npz": "path", "image_folder": "path"}
KEYS_REFUSED = {"digits": ("name", "path"), "csv": ("name",), "npz": ("name",), "image_folder": ("name",)}
CLASS_TASKS = frozenset(("classification", "multilabel"))
SOURCES_WITH_CLASSES = frozenset(("digits", "tfds"))


def _source_keys(facts: Facts) -> Iterator[Problem]:
    data = facts.values["data"]
    source, needed = data["source"], KEYS_NEEDED.get(data["source"])
    if needed and needed not in data:
        what = "the name of a TensorFlow Datasets builder" if needed == "name" else "a path"
        yield Problem(("data", needed), "source", f"found nothing, expected {what}, since the source is '{source}'")
    for key in KEYS_REFUSED.get(source, ()):
        if key in data:
            hint = "delete it, or write source: tfds" if key == "name" else "delete it"
            message = f"found {quoted(data[key])}, expected no {key} for the source '{source}'"
            yield Problem(("data", key), "source", message, hint)


def _splits_alike(facts: Facts) -> Iterator[Problem]:
    splits = facts.values["data"]["splits"]
    texts = [part for part in PARTS if isinstance(splits[part], str)]
    path = ("data", "splits")
    if texts and len(texts) < len(PARTS):
        numbers = [part for part in PARTS if part not in texts]
        message = f"found text ({', '.join(texts)}) and numbers ({', '.join(numbers)}), expected three of one kind"
        yield Problem(path, "splits", message, at_key=True)
    elif texts:
        for key in ("by", "within"):
            if key in splits:
                message = f"found {quoted(splits[key])} beside slices, expected it only beside fractions"
                yield Problem((*path, key), "splits", message, "delete it, or write fractions such as train: 0.8")
    elif sum(splits[part] for part in PARTS) > 1 + TOLERANCE:
        total = sum(splits[part] for part in PARTS)
        yield Problem(path, "splits", f"found fractions that sum to {total:.6g}, expected at most 1", at_key=True)


def _within(facts: Facts) -> Iterator[Problem]:
    splits = facts.values["data"]["splits"]
    path = ("data", "splits", "within")
    if "within" not in splits or any(isinstance(splits[part], str) for part in PARTS):
        return
    if "by" not in splits:
        message = f"found {quoted(splits['within'])} without by, expected the column whose order splits beside it"
        yield Problem(path, "splits", message, "write by: with a column such as a time stamp")
    elif splits["by"] == splits["within"]:
        yield Problem(path, "splits", f"found {quoted(splits['within'])}, the column of by, expected another")


def _slices_readable(facts: Facts) -> Iterator[Problem]:
    data = facts.values["data"]
    digits = data["source"] == "digits"
    for part in PARTS:
        text = data["splits"][part]
        if isinstance(text, str) and not (DIGITS_SLICE if digits else SLICE).fullmatch(text):
            example = "a slice of all, such as 'all[:80%]'" if digits else "a slice such as 'train[:90%]'"
            hint = "write a fraction without quotes, such as 0.8, or a slice" if re.match(r"[\d.]", text) else ""
            yield Problem(("data", "splits", part), "splits", f"found {found(text)}, expected {example}", hint)


def _num_classes(facts: Facts) -> Iterator[Problem]:
    task, source = facts.values["task"], facts.values["data"]["source"]
    path = ("task", "num_classes")
    if task["type"] in CLASS_TASKS:
        if task["num_classes"] == "auto" and source not in SOURCES_WITH_CLASSES:
            message = f"found 'auto', expected a whole number, since the source '{source}' declares no classes"
            yield Problem(path, "task", message, "write num_classes: with the number of classes")
    elif task["num_classes"] != "auto":
        message = f"found {task['num_classes']}, expected no num_classes for the task '{task['type']}'"
        yield Problem(path, "task", message, "delete it")


def _labels(facts: Facts) -> Iterator[Problem]:
    data, task = facts.values["data"], facts.values["task"]["type"]
    if data["labels_per_class"] != "all" and task != "classification":
        message = f"found {data['labels_per_class']} for the task '{task}', expected 'all'"
        yield Problem(("data", "labels_per_class"), "task", message, "only a classification can keep labels by class")


def _unlabeled(facts: Facts) -> Iterator[Problem]:
    data, path = facts.values["data"], ("data", "unlabeled")
    if data["unlabeled"] == "keep" and data["labels_per_class"] == "all":
        message = "found 'keep', expected labels_per_class beside it, since every example has its label"
        yield Problem(path, "no-effect", message, "write labels_per_class:, or delete unlabeled", severity="warning")


def _teacher_cache(facts: Facts) -> Iterator[Problem]:
    data, path = facts.values["data"], ("data", "teacher_cache")
    if not data["teacher_cache"]:
        return
    augment, views = ", ".join(data["augment"]), data["teacher_cache"]["views"]
    if augment and not views:
        message = f"found no views beside augment: [{augment}], expected some"
        hint = (
            "images that change anew each epoch have no states to keep: write teacher_cache: {views: 4} to train on "
            "4 versions of each in turn, or delete augment"
        )
        yield Problem(path, "teacher-cache", f"{message}", hint, at_key=True)
    elif views and not augment:
        message = f"found {views} without augment, expected 0, since all views would be the same"
        yield Problem((*path, "views"), "teacher-cache", message, "delete views, or write augment: [flip, crop]")


def _splits_apart(facts: Facts) -> Iterator[Problem]:
    """The same slice for two parts; what slices share otherwise is not known before the source is read."""
    splits = facts.values["data"]["splits"]
    for part, earlier in (("validation", "train"), ("test", "train"), ("test", "validation")):
        if isinstance(splits[part], str) and splits[part] == splits[earlier]:
            message = f"found the slice of {earlier}, {quoted(splits[part])}, expected one of its own"
            hint = "figures on examples that were trained or chosen on are too good"
            yield Problem(("data", "splits", part), "leak", message, hint, severity="warning")


def _teacher_split_alike(facts: Facts) -> Iterator[Problem]:
    """A teacher that was trained on this spec's source must not have seen its test examples."""
    reference = facts.references.get("teacher")
    if reference is None or facts.values["method"] == "scratch":
        return
    ours, theirs = absolute_paths(facts.values, facts.folder)["data"], reference["data"]
    # What names a source besides its kind; the path of tfds is only where its files are kept.
    name = KEYS_NEEDED.get(ours["source"], "source")
    if any(ours.get(key) != theirs.get(key) for key in ("source", name)):
        return
    drawn = not isinstance(ours["splits"]["train"], str) and "by" not in ours["splits"]
    same_draw = not drawn or facts.values["seed"] == reference["seed"]
    if ours["splits"] != theirs["splits"] or not same_draw:
        what = "splits unlike" if same_draw else "fractions drawn by another seed than"
        message = f"found {what} those of the teacher's spec: it may have been trained on this spec's test examples"
        hint = "write the same splits in both; slices, such as all[:80%], do not depend on the seed"
        yield Problem(("data", "splits"), "leak", message, hint, severity="warning", at_key=True)


DATA_CHECKS: tuple[Check, ...] = (
    Check(("data",), _source_keys),
    Check(("data",), _splits_alike),
    Check(("data",), _within),
    Check(("data",), _slices_readable),
    Check(("data",), _splits_apart),
    Check(("data", "method", "teacher", "seed"), _teacher_split_alike),
    Check(("data", "task"), _num_classes),
    Check(("data", "task"), _labels),
    Check(("data",), _unlabeled),
    Check(("data",), _teacher_cache),
)
