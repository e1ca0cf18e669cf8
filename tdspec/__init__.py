"""tdspec: a YAML spec becomes a knowledge-distillation graph on Keras 3 and TensorFlow.

`import tdspec` loads neither: `tdspec.compile`, `tdspec.plan` and `tdspec.Term` do, when they are used.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tdspec.graph.distiller import Distiller
    from tdspec.graph.terms import Term

__all__ = ["Term", "__version__", "compile", "plan"]
__version__ = "0.1.0"


def compile(
    spec: str | os.PathLike[str],
    overrides: tuple[str, ...] = (),
    *,
    runs: str | os.PathLike[str] = "runs",
    total_steps: int | None = None,
    terms: Sequence[Term] = (),
    distances: Mapping[str, Callable[..., Any]] | None = None,
) -> Distiller:
    """Compile a spec into a Keras model that distils when it is fitted.

    Weights are loaded where that needs neither the network nor a training run: files, presets that were fetched, the
    trained students of other specs. A side that keeps fresh weights, drawn by the spec's seed, is warned about.

    Args:
        spec: path of the YAML file.
        overrides: "key.path=value" texts, such as "method=logit".
        runs: the folder of all runs, where the trained students of other specs are.
        total_steps: how many steps `fit` will run, over which learning rate and weights follow their schedules; None:
            not known, and the learning rate is constant.
        terms: of your own, optimised and logged beside those of the spec's method. They name tensors such as
            "student_high", "teacher_high", "student_message" or "student_prediction".
        distances: of your own, by the name that terms use: (target, prediction) -> (batch,), written with
            `keras.ops`. A function with an argument `mask` is told the padding of texts, one with `across` reaches the
            examples of all replicas, as those of `tdspec.graph.distances` do.

    Returns:
        A compiled `Distiller`.

    Raises:
        SpecError: the spec is wrong; holds every problem with its place.
        GraphError: a term or distance of your own is wrong.
        ValueError: the weight of a term has a schedule, and `total_steps` is None.
    """
    from pathlib import Path

    from tdspec.graph.own_terms import own_terms
    from tdspec.run.prepare import prepared_distiller

    return prepared_distiller(spec, overrides, Path(runs), total_steps, own_terms(terms, distances or {}))


def plan(
    spec: str | os.PathLike[str],
    overrides: tuple[str, ...] = (),
    *,
    terms: Sequence[Term] = (),
    distances: Mapping[str, Callable[..., Any]] | None = None,
) -> dict[str, Any]:
    """What a spec and terms of your own compile to, without weights or data: what `tdspec compile` writes as plan.json.

    Args:
        spec, overrides, terms, distances: as for `compile`.

    Raises:
        SpecError: the spec is wrong; holds every problem with its place.
        GraphError: a term or distance of your own is wrong.
    """
    from tdspec.graph.own_terms import own_terms
    from tdspec.graph.plan import plan_of
    from tdspec.run.prepare import compile_without_weights
    from tdspec.spec.load import load

    return plan_of(compile_without_weights(load(spec, overrides), own_terms(terms, distances or {})))


def __getattr__(name: str) -> Any:
    """`tdspec.Term`, which is not loaded before it is used."""
    if name == "Term":
        from tdspec.graph.terms import Term

        return Term
    raise AttributeError(f"module 'tdspec' has no attribute '{name}'")
