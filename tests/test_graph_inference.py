"""Recomputed: the numbers of a model that keeps its activations, and what is kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from graph_helpers import compiled, pixels

from tdspec.graph.inference import Recomputed
from tdspec.graph.programs import on_flat


def _model() -> keras.Model:
    keras.utils.set_random_seed(0)
    entry = keras.Input((5,))
    x = keras.layers.Dense(7, activation="tanh")(entry)
    return keras.Model(entry, [keras.layers.Dense(3)(x), keras.layers.Dropout(0.5)(x)])


@pytest.mark.parametrize("jit", [False, True])
def test_gradients_of_inputs_and_of_weights(jit: bool) -> None:
    """Also where the values of the weights come from a scope, as under replicas."""
    model = _model()
    layer = Recomputed(model, name="recomputed")
    x = tf.random.stateless_normal((4, 5), (1, 2))
    values = [tf.convert_to_tensor(variable.value) * 2 for variable in model.trainable_variables]

    def found(run: Any, inputs: Any) -> Any:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([inputs, *values])
            with keras.StatelessScope(list(zip(model.trainable_variables, values, strict=True))):
                one, two = run(inputs)
            total = tf.reduce_sum(one**2) + tf.reduce_sum(two)
        return total, tape.gradient(total, [inputs, *values])

    def of(run: Any) -> Any:
        return lambda inputs: found(run, inputs)

    expected = of(lambda inputs: model(inputs, training=False))(x)
    recomputed = (on_flat(of(layer), (x,)) if jit else of(layer))(x)
    for one, two in zip(tf.nest.flatten(recomputed), tf.nest.flatten(expected), strict=True):
        assert np.allclose(one, two, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("jit", ["off", "on"])
def test_training_is_the_same(tmp_path: Path, jit: str) -> None:
    """Two iterations: a follow-up question runs the student's own layers, whose weights get gradients there too."""
    results = []
    for remat, setting in (("none", "off"), ("iterations", jit)):
        options: dict[str, Any] = {"communication": {"iterations": 2}, "train": {"remat": remat}}
        distiller = compiled(tmp_path, **options).distiller
        distiller.compile(keras.optimizers.SGD(0.003), jit=setting)
        for seed in range(2):
            logs = distiller.train_step(({"image": pixels(seed=seed)}, np.arange(8), np.ones(8, "float32")))
        weights = {variable.path: variable.numpy() for variable in distiller.trained_variables}
        results.append((weights, {name: float(value) for name, value in logs.items()}))
    (plain, logs), (found, found_logs) = results
    assert found_logs == pytest.approx(logs, rel=1e-6)
    assert found.keys() == plain.keys()
    for name, value in plain.items():
        assert np.allclose(found[name], value, rtol=1e-6, atol=1e-6), name


def test_xla_does_not_undo_it() -> None:
    """The product before the activation is there once more in the compiled program."""
    model = _model()
    x = tf.ones((4, 5))

    def gradient(run: Any) -> Any:
        def of(inputs: Any) -> Any:
            with tf.GradientTape() as tape:
                tape.watch(inputs)
                total = tf.reduce_sum(tf.sin(run(inputs)[0]))
            return tape.gradient(total, inputs)

        return on_flat(of, (x,)).experimental_get_compiler_ir(x)(stage="optimized_hlo").count("tanh(")

    layer = Recomputed(model, name="recomputed")
    assert (gradient(lambda inputs: model(inputs, training=False)), gradient(layer)) == (1, 2)
