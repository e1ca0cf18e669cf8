"""Benchmarks of a step: facts about the parts and what is fed, never seconds."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from run_support import DATA, TEACHER, write_pair, write_spec

from tdspec.graph.compiler import Compiled, build
from tdspec.graph.plan import plan_of
from tdspec.graph.step import Batch
from tdspec.run import bench
from tdspec.run.bench_feed import feed_of, random_batch
from tdspec.run.bench_parts import Part, parts_of
from tdspec.run.bench_timing import ROUNDS, Computation, computation_of, take_turns
from tdspec.run.prepare import compile_optimizer, describe
from tdspec.spec.load import load

TALKING = ["gradients", "student_forward", "student_gradients", "teacher", "interaction", "codecs", "nothing"]


def compiled_spec(path: Path, *overrides: str) -> Compiled:
    compiled = build(load(path, list(overrides)), describe)
    compile_optimizer(compiled, schedule="constant", total_steps=bench.TOTAL_STEPS)
    return compiled


def test_shares_add_up() -> None:
    medians = {
        "step": 10.0, "step_with_input": 11.0, "gradients": 8.0, "student_forward": 1.0, "student_gradients": 3.0,
        "teacher": 1.5, "interaction": 2.0, "codecs": 0.5, "nothing": 0.25,
    }  # fmt: skip
    shares = {share.name: share for share in bench.shares_of(medians)}
    assert {name: share.seconds for name, share in shares.items()} == {
        "student_forward": 0.75, "student_backward": 2.0, "teacher": 1.25, "interaction": 1.75, "codecs": 0.25,
        "optimizer": 2.0, "input": 1.0, "rest": 2.0,
    }  # fmt: skip
    assert {name for name, share in shares.items() if share.how == "by difference"} == {
        "student_backward", "optimizer", "input", "rest",
    }  # fmt: skip


def test_what_calling_a_step_costs_is_not_the_optimizers() -> None:
    """Where several steps are one program, what is left of a step that is called by itself without its gradients."""
    medians = {"step": 8.5, "step_by_step": 10.0, "gradients": 8.0, "student_forward": 1.0, "student_gradients": 3.0}
    shares = {share.name: share for share in bench.shares_of({**medians, "nothing": 0.25})}
    assert shares["optimizer"].seconds == 2.0
    assert sum(share.seconds or 0.0 for share in shares.values()) == 8.5


def test_a_difference_below_0_is_taken_for_0_and_kept() -> None:
    medians = {"step": 10.0, "gradients": 10.5, "student_forward": 1.0, "student_gradients": 3.0, "nothing": 0.0}
    shares = {share.name: share for share in bench.shares_of(medians)}
    assert shares["optimizer"].seconds == 0.0 and shares["optimizer"].difference == -0.5
    assert shares["input"].seconds is None and shares["input"].how == "not measured"
    assert shares["teacher"].seconds == 0.0 and shares["teacher"].how == "not in the graph"
    assert shares["rest"].seconds == 7.0


def test_the_parts_of_a_talk_are_those_of_its_graph(tmp_path: Path) -> None:
    compiled = compiled_spec(write_pair(tmp_path), "communication.iterations=2")
    parts = {part.name: part for part in parts_of(compiled, random_batch(compiled))}
    assert list(parts) == TALKING
    # two iterations: the teacher's middle twice, the student's once to ask again
    assert [[tuple(x.shape) for x in given] for given in parts["interaction"].arguments] == [
        [(64, 24)], [(64, 10)], [(64, 24)],
    ]  # fmt: skip
    # on the data two of each, which makes the first question heard; then an answer, heard, asked again; heard; ...
    plan = plan_of(compiled)
    assert {codec["name"] for codec in plan["codecs"]} == {
        "student_codec.encode", "student_codec.decode", "teacher_codec.encode", "teacher_codec.decode",
    }  # fmt: skip
    assert len(parts["codecs"].arguments) == 10


def test_iterations_that_are_recomputed_are_those_of_the_plan_and_a_forward_pass_more(tmp_path: Path) -> None:
    path = write_pair(tmp_path)
    kept, recomputed = (
        plan_of(compiled_spec(path, "communication.iterations=2", f"train.remat={word}"))
        for word in ("none", "iterations")
    )
    assert recomputed["codecs"] == kept["codecs"]
    assert recomputed["totals"] == kept["totals"]
    teacher, student = (
        next(part["flops"] for part in kept[side]["segments"] if part["name"] == "middle")
        for side in ("teacher", "student")
    )
    # the teacher interprets twice, the student asks again once
    assert recomputed["cost"]["interaction"] == kept["cost"]["interaction"] + 2 * teacher + student
    assert [recomputed["cost"][side] for side in ("student", "teacher")] == [
        kept["cost"][side] for side in ("student", "teacher")
    ]
    assert recomputed["cost"]["codecs"] > kept["cost"]["codecs"]


def test_an_iteration_that_is_recomputed_is_one_part(tmp_path: Path) -> None:
    compiled = compiled_spec(write_pair(tmp_path), "communication.iterations=2", "train.remat=iterations")
    parts = {part.name: part for part in parts_of(compiled, random_batch(compiled))}
    assert list(parts) == TALKING
    # a message is answered, an answer that was heard makes a question, which is answered
    assert [[tuple(x.shape) for x in given] for given in parts["interaction"].arguments] == [
        [(64, 6)], [(64, 10)], [(64, 6)],
    ]  # fmt: skip
    computation_of(parts["interaction"], xla=False).run(2)


def test_the_gradients_are_those_of_the_step(tmp_path: Path) -> None:
    """A step of plain gradient descent moves the weights by what the part computes."""
    overrides = ["train.optimizer.type=sgd", "train.optimizer.learning_rate=1.0", "train.jit=off"]
    compiled = compiled_spec(write_pair(tmp_path), *overrides)
    batch = random_batch(compiled)
    distiller = compiled.distiller
    (part,) = (part for part in parts_of(compiled, batch) if part.name == "gradients")
    before = [variable.numpy() for variable in distiller.trained_variables]
    _, (value, *gradients) = part.run(tf.zeros(()), part.arguments)
    distiller.train_step(tuple(batch))
    moved = [old - variable.numpy() for old, variable in zip(before, distiller.trained_variables, strict=True)]
    assert float(value) == pytest.approx(float(distiller.metrics[0].result()), rel=1e-5)
    for gradient, change in zip(gradients, moved, strict=True):
        np.testing.assert_allclose(gradient, change, rtol=1e-3, atol=1e-5)


def test_parts_change_no_weight(tmp_path: Path) -> None:
    compiled = compiled_spec(write_pair(tmp_path), "communication.iterations=2")
    before = [variable.numpy() for variable in compiled.distiller.variables]
    for part in parts_of(compiled, random_batch(compiled)):
        _, results = part.run(tf.zeros(()), part.arguments)
        assert all(np.isfinite(result).all() for result in results)
    for old, variable in zip(before, compiled.distiller.variables, strict=True):
        np.testing.assert_array_equal(old, variable.numpy())


@pytest.mark.parametrize("xla", [False, True])
def test_a_part_runs_as_many_steps_as_it_is_asked_for(tmp_path: Path, xla: bool) -> None:
    computation_of(Part("nothing", lambda link, given: (link, [given]), tf.ones(())), xla=xla).run(3)


def test_turns() -> None:
    calls: list[Any] = []
    ready = Computation(lambda steps: calls.append(("b", steps)), lambda steps: calls.append(("before", steps)))
    timed = take_turns({"a": Computation(lambda steps: calls.append(("a", steps))), "b": ready}, 3, io.StringIO())
    assert {name: (found.steps, len(found.seconds)) for name, found in timed.items()} == {
        "a": (3, ROUNDS), "b": (3, ROUNDS),
    }  # fmt: skip
    assert calls[-3:] == [("a", 3), ("before", 3), ("b", 3)]


def test_real_batches_where_the_data_are_at_hand(tmp_path: Path) -> None:
    compiled = compiled_spec(write_pair(tmp_path))
    feed = feed_of(compiled)
    assert feed.batches is not None and feed.why_random == ""
    assert described(random_batch(compiled)) == described(feed.batch)


def test_random_batches_where_they_are_not(tmp_path: Path) -> None:
    splits = {"train": "train[:90%]", "validation": "train[90%:]", "test": "test"}
    data = {"source": "tfds", "name": "svhn_cropped", "splits": splits, "batch_size": 4}
    student = {**TEACHER["student"], "input": {"size": [8, 8], "channels": 3}}
    compiled = compiled_spec(write_spec(tmp_path / "far.yaml", {**TEACHER, "data": data, "student": student}))
    feed = feed_of(compiled)
    assert feed.batches is None and "svhn_cropped" in feed.why_random
    assert described(feed.batch) == {
        "image": ((4, 32, 32, 3), "uint8"), "label": ((4,), "int32"), "sample_weight": ((4,), "float32"),
    }  # fmt: skip
    assert int(tf.reduce_max(feed.batch.label)) < 10
    assert [part.name for part in parts_of(compiled, feed.batch)] == [*TALKING[:3], "nothing"]


def test_kept_states_are_random_and_no_teacher_runs(tmp_path: Path) -> None:
    compiled = compiled_spec(write_pair(tmp_path), "data.teacher_cache=true")
    feed = feed_of(compiled)
    assert feed.batches is None and "teacher_cache" in feed.why_random
    assert set(feed.batch.features) == {"image", "teacher_low", "teacher_high"}
    assert "teacher" not in [part.name for part in parts_of(compiled, feed.batch)]


@pytest.mark.parametrize("task", ["regression", "binary", "multilabel"])
def test_random_labels_fit_the_task(tmp_path: Path, task: str) -> None:
    classes = {"num_classes": 5} if task == "multilabel" else {}
    values = {**TEACHER, "task": {"type": task, **classes}, "data": {**DATA, "batch_size": 6}}
    batch = random_batch(compiled_spec(write_spec(tmp_path / "task.yaml", values)))
    assert batch.label.dtype == tf.float32
    assert tuple(batch.label.shape) == ((6, 5) if task == "multilabel" else (6,))


def described(batch: Batch) -> dict[str, Any]:
    """Shape and dtype of everything in a batch."""
    tensors = {**batch.features, "label": batch.label, "sample_weight": batch.sample_weight}
    return {name: (tuple(x.shape), x.dtype.name) for name, x in tensors.items()}
