"""FitNet on two layers: tdspec's step beside keras.distillation's, each at its best settings.

    python tests/benchmarks/keras_distillation.py [--steps 10] [--rounds 9] [--tokens 16]

In: nothing; all is random. Out: one line of JSON: seconds of tdspec's step, alone and with the teacher's
states kept, over those of Keras's Distiller with two FeatureDistillations, with and without XLA; medians over rounds
that take turns. TensorFlow has the settings of `tdspec train` for both; "as it starts" is the Distiller with XLA in a
process of its own as TensorFlow starts by itself on processors with AVX2 alone, which its users have (`settings.py`).
Models of the same layers for both: blocks of attention at the top level, since Keras finds no others, teacher and
student of one width, since Keras has no codecs. tdspec computes its codecs too.
Leaves out: the input pipeline (one batch, in memory).
"""

from __future__ import annotations

import environment  # noqa: F401

# isort: split

import argparse
import itertools
import json
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from asking import answer, process_of
from keras.distillation import Distiller, FeatureDistillation
from settings import AS_IT_STARTS
from step import many, seconds

BATCH, WIDTH, CLASSES = 64, 128, 10
TEACHER_CUT, STUDENT_CUT = ("block_3", "block_11"), ("block_0", "block_3")


class Facts:
    """What the made-up source declares."""

    def __init__(self, size: int):
        self.num_classes, self.image_shape = CLASSES, (size, size, 3)


def model(name: str, num_blocks: int, tokens: int) -> keras.Model:
    """Patches of 8 x 8, blocks of attention and an MLP, the mean, logits."""
    side = int(tokens**0.5)
    image = keras.Input((8 * side, 8 * side, 3), name="image")
    x = keras.layers.Conv2D(WIDTH, 8, 8, name="patches")(keras.layers.Rescaling(1 / 255)(image))
    x = keras.layers.Reshape((side * side, WIDTH))(x)
    for index in range(num_blocks):
        y = keras.layers.LayerNormalization()(x)
        x = keras.layers.Add()([x, keras.layers.MultiHeadAttention(4, WIDTH // 4)(y, y)])
        y = keras.layers.Dense(4 * WIDTH, activation="gelu")(keras.layers.LayerNormalization()(x))
        x = keras.layers.Add(name=f"block_{index}")([x, keras.layers.Dense(WIDTH)(y)])
    x = keras.layers.GlobalAveragePooling1D()(keras.layers.LayerNormalization()(x))
    return keras.Model(image, keras.layers.Dense(CLASSES, name="logits")(x), name=name)


def batch_of(tokens: int) -> tuple[Any, Any]:
    """(images, labels)."""
    size = 8 * int(tokens**0.5)
    images = np.random.default_rng(0).integers(0, 256, (BATCH, size, size, 3)).astype("float32")
    return tf.constant(images), tf.constant(np.arange(BATCH) % CLASSES)


def by_tdspec(folder: Path, tokens: int, *, cache: bool) -> Callable[[Any], None]:
    """A call that runs so many steps; with a cache, the teacher's states come in as they would from its files."""
    from tdspec.graph.compiler import build
    from tdspec.run.prepare import compile_optimizer
    from tdspec.spec.load import load

    size = 8 * int(tokens**0.5)
    image = {"size": [size, size], "channels": 3, "scale": [0, 255]}
    values: dict[str, Any] = {"version": 1, "name": "b", "method": "fitnet"}
    values["data"] = {"source": "digits", "batch_size": BATCH, "teacher_cache": cache}
    for name, num_blocks, cut in (("teacher", 12, TEACHER_CUT), ("student", 4, STUDENT_CUT)):
        model(name, num_blocks, tokens).save(folder / f"{name}.keras")
        values[name] = {
            "backbone": {"file": f"{name}.keras"},
            "head": "own",
            "input": image,
            "cut": {"low": cut[0], "high": cut[1]},
        }
    values["communication"] = {"message": {"dim": 64}, "encoder": {"type": "linear"}}
    values["train"] = {"epochs": 1, "optimizer": {"type": "adam"}, "schedule": "constant", "jit": "on"}
    path = folder / "spec.yaml"
    path.write_text(json.dumps(values))
    compiled = build(load(path), lambda _: Facts(size))
    compile_optimizer(compiled, schedule="constant", total_steps=1000)
    images, labels = batch_of(tokens)
    kept = {name: compiled.distiller.input[name] for name in compiled.cached}
    states = {name: tf.random.normal((BATCH, *tensor.shape[1:]), dtype=tensor.dtype) for name, tensor in kept.items()}
    batch = ({"image": tf.cast(images, "uint8"), **states}, labels, tf.ones(BATCH))

    return many(compiled.distiller, batch)


def by_keras(tokens: int, steps: int, *, jit: bool) -> Callable[[Any], None]:
    """A call that runs `steps` steps in one execution, as `fit` does."""
    features = [
        FeatureDistillation(loss="mse", teacher_layer_name=ours, student_layer_name=theirs)
        for ours, theirs in zip(TEACHER_CUT, STUDENT_CUT, strict=True)
    ]
    distiller = Distiller(model("teacher", 12, tokens), model("student", 4, tokens), features)
    distiller.compile(
        optimizer="adam",
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        jit_compile=jit,
        steps_per_execution=steps,
    )
    images, labels = batch_of(tokens)
    distiller.fit(images, labels, batch_size=BATCH, verbose=0)
    # autotuning may leave the step one core (pipeline.py), which is no fault of the Distiller
    options = tf.data.Options()
    options.autotune.enabled = False
    iterator = iter(tf.data.Dataset.from_tensors((images, labels)).repeat().with_options(options))

    def run(num_steps: Any) -> None:
        done = distiller.train_function(iterator)
        tf.nest.map_structure(lambda value: value.numpy(), done)

    return run


def serve(tokens: int, steps: int) -> None:
    """Answer each line on standard input with the seconds of a step of Keras's Distiller, by XLA."""
    run = by_keras(tokens, steps, jit=True)
    run(tf.constant(steps))
    for _ in sys.stdin:
        print(seconds(run, steps), flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--tokens", type=int, default=16)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        serve(given.tokens, given.steps)
        return
    with tempfile.TemporaryDirectory() as folder:
        ours = {name: by_tdspec(Path(folder), given.tokens, cache=bool(name)) for name in ("", " with its cache")}
    theirs = {f"Keras{name}": by_keras(given.tokens, given.steps, jit=bool(name)) for name in ("", " with jit_compile")}
    for run in (*ours.values(), *theirs.values()):
        run(tf.constant(given.steps))
    last = "Keras with jit_compile, as it starts"
    times: dict[str, list[float]] = {name: [] for name in (*ours, *theirs, last)}
    command = [sys.executable, __file__, "--serve", "--tokens", str(given.tokens), "--steps", str(given.steps)]
    with process_of(*command, **AS_IT_STARTS) as process:
        for _ in range(given.rounds):
            for name, run in (ours | theirs).items():
                times[name].append(seconds(run, given.steps))
            times[last].append(answer(process))
    found = {}
    for one, other in itertools.product(ours, (*theirs, last)):
        ratios = [a / b for a, b in zip(times[one], times[other], strict=True)]
        found[f"tdspec{one} : {other}"] = round(statistics.median(ratios), 3)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
