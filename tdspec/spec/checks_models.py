"""Rules about teacher and student that the schema cannot say.

In: `Facts`. Out: problems.
Leaves out: whether classes, presets, files and layers exist (`graph/`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tdspec.spec.facts import Check, Facts
from tdspec.spec.paths import OWN_TOKENIZER
from tdspec.spec.problems import Problem

KINDS = ("class", "preset", "application", "file", "mlp", "spec")
IMAGE_WORDS = ("size", "channels", "scale", "mean", "std")
TEXT_WORDS = ("tokenizer", "length")
OWN_KINDS = frozenset(("preset", "file", "spec"))
WEIGHTS_NEEDED = {
    "class": ("weights: {preset: NAME} or {file: PATH}", "write where its weights come from, or weights: random"),
    "application": ("weights: imagenet or {file: PATH}", "write weights: imagenet, {file: PATH}, or random"),
    "mlp": ("weights: {file: PATH}", "write weights: {file: PATH}, or give the teacher by spec:, or weights: random"),
}


def kind_of(backbone: Mapping[str, Any]) -> str:
    """The way in which a backbone is given: one of KINDS."""
    return next(kind for kind in KINDS if kind in backbone)


def reads_image(facts: Facts, side: str) -> bool:
    """Whether a side's model reads an image rather than the columns of a table."""
    backbone = facts.values[side]["backbone"]
    reference = facts.references.get(side)
    if "spec" in backbone and reference is not None:
        backbone = reference["student"]["backbone"]
    return not ("mlp" in backbone and backbone["mlp"]["features"])


def text_words(facts: Facts, side: str) -> list[str]:
    """The words of a side's input, written on purpose, that say it reads a text."""
    return [word for word in TEXT_WORDS if facts.is_written(side, "input", word)]


def _weights_known(facts: Facts) -> Iterator[Problem]:
    for side, model in facts.sides():
        kind, path = kind_of(model["backbone"]), (side, "backbone", "weights")
        if "weights" not in model["backbone"]:
            wanted, hint = WEIGHTS_NEEDED[kind]
            yield Problem(path, "weights", f"found nothing, expected {wanted}, for a trained teacher", hint)
        elif model["backbone"]["weights"] == "random" and side == "teacher" and kind != "spec":
            message = "found 'random', expected trained weights: this teacher knows nothing"
            yield Problem(path, "weights", message, severity="warning")


def _weights_fit(facts: Facts) -> Iterator[Problem]:
    for side, model in facts.sides():
        kind, weights = kind_of(model["backbone"]), model["backbone"].get("weights")
        path = (side, "backbone", "weights")
        if kind == "spec" and weights != "own":
            message = "found other weights, expected 'own', those of the spec's trained student"
            yield Problem(path, "weights", message, "delete weights")
        elif weights == "own" and kind not in OWN_KINDS:
            message = f"found 'own' for a backbone given by {kind}, expected it only for preset, file or spec"
            yield Problem(path, "weights", message, f"a backbone given by {kind} comes without weights")
        elif weights == "imagenet" and kind != "application":
            message = f"found 'imagenet' for a backbone given by {kind}, expected it only for application"
            yield Problem(path, "weights", message, "write {preset: NAME} or {file: PATH}")
        elif isinstance(weights, dict) and "preset" in weights and kind not in {"class", "preset"}:
            message = f"found a preset for a backbone given by {kind}, expected it only for class"
            yield Problem(path, "weights", message, "write {file: PATH}")


def _spec_says_all(facts: Facts) -> Iterator[Problem]:
    for side, model in facts.sides():
        for key in ("input", "head"):
            if "spec" in model["backbone"] and facts.is_written(side, key):
                message = f"found {key} beside a backbone given by spec, expected none: the spec says it"
                yield Problem((side, key), "backbone", message, "delete it", at_key=True)


def _batch_norm(facts: Facts) -> Iterator[Problem]:
    for side, model in facts.sides():
        kind = kind_of(model["backbone"])
        if kind in {"mlp", "spec"} and "batch_norm_epsilon" in model["backbone"]:
            path = (side, "backbone", "batch_norm_epsilon")
            message = f"found it for a backbone given by {kind}, expected none"
            yield Problem(path, "backbone", message, "delete it", at_key=True)


def _input_read(facts: Facts) -> Iterator[Problem]:
    for side, model in facts.sides():
        by_spec = "spec" in model["backbone"]
        if not by_spec and not reads_image(facts, side) and facts.is_written(side, "input"):
            message = "found input for a model that reads the columns of mlp.features, expected none"
            yield Problem((side, "input"), "input", message, "delete input, or delete features", at_key=True)


def _text_or_image(facts: Facts) -> Iterator[Problem]:
    for side, model in facts.sides():
        kind, text = kind_of(model["backbone"]), text_words(facts, side)
        image = [word for word in IMAGE_WORDS if facts.is_written(side, "input", word)]
        if text and (kind == "application" or (kind == "mlp" and reads_image(facts, side))):
            message = f"found {text[0]} for a backbone given by {kind}, which reads no text, expected none"
            yield Problem((side, "input", text[0]), "input", message, "delete it", at_key=True)
        elif text and image and kind != "mlp":
            message = f"found {image[0]}, which is about images, beside {text[0]}, which is about texts"
            yield Problem((side, "input", image[0]), "input", f"{message}, expected one", "delete it", at_key=True)


def _tokenizer_named(facts: Facts) -> Iterator[Problem]:
    for side, model in facts.sides():
        backbone, weights = model["backbone"], model["backbone"].get("weights")
        of_preset = isinstance(weights, dict) and "preset" in weights
        if not {"class", "file"} & set(backbone) or of_preset or not text_words(facts, side):
            continue
        if model["input"]["tokenizer"] == OWN_TOKENIZER:
            message = f"found '{OWN_TOKENIZER}' for a backbone that comes without one, expected a preset that holds one"
            hint = "write tokenizer: with a preset's folder or name, such as the teacher's"
            yield Problem((side, "input", "tokenizer"), "input", message, hint)


def _lengths_alike(facts: Facts) -> Iterator[Problem]:
    """One tokenization feeds both models."""
    models = {
        side: facts.references[side]["student"] if side in facts.references else model for side, model in facts.sides()
    }
    lengths = {side: model["input"]["length"] for side, model in models.items()}
    if len(lengths) == 2 and "auto" not in lengths.values() and lengths["student"] != lengths["teacher"]:
        message = f"found {lengths['student']}, the teacher reads {lengths['teacher']} tokens, expected as many"
        yield Problem(("student", "input", "length"), "input", message, "both read one tokenization of one text")


def _channels(facts: Facts) -> Iterator[Problem]:
    for side, model in facts.sides():
        channels = model["input"]["channels"]
        for key in ("mean", "std"):
            count = len(model["input"][key])
            if count not in {1, channels}:
                wanted = "1 number" if channels == 1 else f"1 or {channels}, one a channel"
                yield Problem((side, "input", key), "input", f"found a list of {count}, expected {wanted}")


def _scale(facts: Facts) -> Iterator[Problem]:
    for side, model in facts.sides():
        low, high = model["input"]["scale"]
        if low == high:
            message = f"found {low} for black and for white, expected two different numbers"
            yield Problem((side, "input", "scale"), "input", message, "write [0, 1], [-1, 1] or [0, 255]")


def _class_map(facts: Facts) -> Iterator[Problem]:
    teacher, path = facts.values.get("teacher"), ("teacher", "class_map")
    if teacher is None or "class_map" not in teacher:
        return
    task, count = facts.values["task"], len(teacher["class_map"])
    if task["type"] != "classification":
        message = f"found a class map for the task '{task['type']}', expected it only for 'classification'"
        yield Problem(path, "task", message, "delete class_map", at_key=True)
    elif "spec" not in teacher["backbone"] and teacher["head"] != "own":
        message = f"found a class map beside head: {teacher['head']}, expected head: own, whose classes it maps"
        yield Problem(path, "choice", message, "delete class_map, or write head: own", at_key=True)
    elif task["num_classes"] not in {"auto", count}:
        message = f"found a list of {count}, expected {task['num_classes']}, one for each class of the student"
        yield Problem(path, "task", message, "an entry is a class of the teacher, or a list of several")
    yield from _classes_known(facts, path)


def _classes_known(facts: Facts, path: tuple[str, str]) -> Iterator[Problem]:
    """Where the teacher is another spec that says how many classes it has."""
    reference = facts.references.get("teacher")
    if reference is None or reference["task"]["num_classes"] == "auto":
        return
    theirs = reference["task"]["num_classes"]
    groups = facts.values["teacher"]["class_map"]
    numbers = {number for group in groups for number in (group if isinstance(group, list) else [group])}
    if max(numbers) >= theirs:
        message = f"found class {max(numbers)}, expected a number from 0 to {theirs - 1}"
        yield Problem(path, "task", message, f"the teacher's spec has {theirs} classes")


def _expect(facts: Facts) -> Iterator[Problem]:
    teacher, task = facts.values.get("teacher"), facts.values["task"]["type"]
    if teacher is not None and task != "regression" and teacher.get("expect", 0) > 1:
        message = f"found {teacher['expect']}, expected an accuracy from 0 to 1"
        hint = f"write {teacher['expect'] / 100:g}" if teacher["expect"] <= 100 else ""
        yield Problem(("teacher", "expect"), "value", message, hint)


def _augment(facts: Facts) -> Iterator[Problem]:
    sides = [side for side, _ in facts.sides()]
    if facts.values["data"]["augment"] and not any(
        reads_image(facts, side) and not text_words(facts, side) for side in sides
    ):
        message = "found changes of images for models that read no image, expected none"
        yield Problem(("data", "augment"), "input", message, "delete augment")


MODEL_CHECKS: tuple[Check, ...] = (
    Check((), _weights_known),
    Check((), _weights_fit),
    Check((), _spec_says_all),
    Check((), _batch_norm),
    Check((), _input_read),
    Check((), _text_or_image),
    Check((), _tokenizer_named),
    Check(("teacher", "student", "method"), _lengths_alike),
    Check((), _channels),
    Check((), _scale),
    Check(("task", "teacher"), _class_map),
    Check(("task", "teacher"), _expect),
    Check(("data", "teacher", "student"), _augment),
)
