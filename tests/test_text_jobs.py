"""Texts from a preset and a csv file to a student that serves: train, evaluate, export, resume, replicas."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from run_support import call, command
from text_support import LENGTH, student, text_spec, write_corpus, write_preset, write_spec

from tdspec import pipeline
from tdspec.run.run_dir import RunFolder
from tdspec.run.strategy import make_strategy
from tdspec.spec.load import load

pytestmark = pytest.mark.slow

INPUTS = {"token_ids", "segment_ids", "padding_mask"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("jobs")
    write_corpus(made)
    write_preset(made)
    teacher = text_spec(name="alone", method="scratch")
    del teacher["teacher"], teacher["communication"]
    write_spec(made, teacher, "alone.yaml")
    write_spec(made, text_spec())
    logit = text_spec(name="logit", method="logit", teacher={"backbone": {"spec": "alone.yaml"}})
    del logit["communication"]
    write_spec(made, logit, "logit.yaml")
    return made


def train(folder: Path, name: str) -> RunFolder:
    return pipeline.train(load(folder / name), folder / "runs", folder=None, resume=False, control=None)


@pytest.fixture(scope="module")
def run(folder: Path) -> RunFolder:
    return train(folder, "text.yaml")


def test_the_light_commands_need_no_tensorflow(folder: Path) -> None:
    code = "import sys; from tdspec.spec.load import check; print(check('text.yaml'), 'tensorflow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "() False"


def test_compile_layers_and_doctor(
    folder: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    assert call(capfd, "validate", "text.yaml", "logit.yaml").code == 0
    compiled = call(capfd, "compile", "text.yaml")
    assert compiled.code == 0, compiled
    assert call(capfd, "compile", "text.yaml", "--check").code == 0
    # The build is a folder of its own, from which the tokenizer is still found.
    assert "../../bert_tiny" in (folder / "build/text/spec.yaml").read_text("utf-8")
    assert call(capfd, "compile", "build/text/spec.yaml", "-o", "build/again").code == 0
    assert "transformer_layer_1" in call(capfd, "layers", "text.yaml").out
    assert call(capfd, "doctor", "text.yaml").code == 0
    fetched = call(capfd, "fetch", "text.yaml")
    assert fetched.code == 0 and fetched.out.count("bert_tiny") >= 1


def test_the_student_serves_tokens(run: RunFolder) -> None:
    record = json.loads(run.record.read_text("utf-8"))
    assert set(record["student"]["inputs"]) == INPUTS
    assert record["class_names"] == ["negative", "positive"]
    model = keras.models.load_model(run.student)
    loaded = tf.saved_model.load(str(run.path / "export/saved_model/1"))
    mask = np.tril(np.ones((5, LENGTH), "int32"), 2)
    fed = {"token_ids": mask * 7, "segment_ids": 0 * mask, "padding_mask": mask}
    served = loaded.signatures["serving_default"](**{name: tf.constant(value) for name, value in fed.items()})
    np.testing.assert_allclose(served["logits"], model(fed), atol=1e-5)


def test_evaluate_and_export(run: RunFolder, tmp_path: Path) -> None:
    record = json.loads(run.record.read_text("utf-8"))
    found = pipeline.evaluate(run, "test")
    assert found["metrics"]["task"] == pytest.approx(record["metrics"]["test"]["task"], rel=1e-5)
    assert found["data_fingerprint"] == record["data"]["fingerprint"]
    (artefact,) = pipeline.export(run, tmp_path, ("saved_model",))
    assert artefact.max_difference < 1e-5


@pytest.mark.slow
def test_a_teacher_by_spec_is_trained_first(folder: Path) -> None:
    record = json.loads(train(folder, "logit.yaml").record.read_text("utf-8"))
    assert record["status"] == "complete"
    assert list((folder / "runs/alone").glob("*/student.keras"))


@pytest.mark.slow
def test_two_replicas_are_one_device(folder: Path) -> None:
    weights = []
    for strategy in ("none", "mirrored"):
        # Without dropout and with SGD, so that nothing but the sums' order differs; clipped, since BERT's normalisation
        # with an epsilon of 1e-12 makes the gradients of what a teacher without training hears as large as they like.
        optimizer = {"type": "sgd", "learning_rate": 0.001, "global_clipnorm": 1.0}
        settings = {"epochs": 1, "strategy": strategy, "optimizer": optimizer}
        write_spec(folder, text_spec(name=strategy, train=settings), "replicas.yaml")
        assert make_strategy(strategy, "auto").num_replicas_in_sync == (2 if strategy == "mirrored" else 1)
        found = keras.models.load_model(train(folder, "replicas.yaml").student)
        weights.append(np.concatenate([np.ravel(value) for value in found.get_weights()]))
    np.testing.assert_allclose(weights[0], weights[1], atol=1e-5)


def test_a_column_of_numbers_is_a_plain_error(folder: Path) -> None:
    spec = text_spec(
        name="wrong", method="scratch", student=student(input={"column": "stars", "tokenizer": "bert_tiny"})
    )
    spec["student"]["input"]["length"] = LENGTH
    del spec["teacher"], spec["communication"]
    write_spec(folder, spec, "wrong.yaml")
    ended = command("train", "wrong.yaml", folder=folder)
    assert ended.code == 1
    assert "error: column 'stars' has" in ended.err and "holds numbers only" in ended.err
    assert "Traceback" not in ended.err
