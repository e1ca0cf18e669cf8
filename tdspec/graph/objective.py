"""The terms that a spec's method asks for.

In: a checked spec. Out: `Term`s, each with its distance, options and weight.
Leaves out: whether the models can give what the terms compare (`fit.py`), terms of a user's own (`own_terms.py`).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tdspec.graph.predictions import TASK_LOSSES
from tdspec.graph.terms import CONSTANT, Schedule, Term, comparisons
from tdspec.spec import model as spec_model
from tdspec.spec.checks import TERMS


def terms_of(spec: spec_model.Spec) -> tuple[Term, ...]:
    """The terms of a spec's method that have a weight and something to compare."""
    terms = []
    for name in TERMS[spec.method]:
        loss: Any = getattr(spec.losses, name)
        target, prediction = comparisons(name, spec.communication.iterations)
        if not loss.weight or not target:
            continue
        distance, options = _distance(spec.task.type, name, loss)
        schedule = CONSTANT if name == "task" else Schedule(loss.schedule, loss.warmup)
        term = Term(name, float(loss.weight), distance, target, prediction, options, schedule=schedule)
        if isinstance(loss, spec_model.StateLoss):
            term = replace(term, detach=loss.detach)
        if name == "interaction" and spec.losses.interaction.iteration_weights:
            # low and high of one iteration weigh the same
            weights = tuple(weight for weight in spec.losses.interaction.iteration_weights for _ in range(2))
            term = replace(term, pair_weights=weights)
        terms.append(replace(term, given={"label": ("label",)}) if name == "nkd" else term)
    return tuple(terms)


# How each term is measured where the spec leaves no choice, and the words of its loss that are the distance's options.
FIXED_DISTANCES: dict[str, tuple[str, tuple[str, ...]]] = {
    "dist": ("dist", ("temperature", "intra")),
    "nkd": ("nkd", ("temperature", "non_target")),
    "vkd": ("standardized_l2", ()),
    "relational": ("relational", ("distances", "angles")),
    "attention": ("attention", ()),
    "manifold": ("manifold", ("intra", "inter")),
}


def _distance(task_type: str, name: str, loss: Any) -> tuple[str, dict[str, float]]:
    if name == "task":
        return TASK_LOSSES[task_type][0], {}
    if name in FIXED_DISTANCES:
        distance, options = FIXED_DISTANCES[name]
        return distance, {option: float(getattr(loss, option)) for option in options}
    if name != "logit":
        return loss.distance, {}
    if loss.distance == "l2" or (loss.distance == "auto" and task_type == "regression"):
        return "l2", {}
    kind = "kl" if task_type == "classification" else "binary_kl"
    return kind, {"temperature": float(loss.temperature)}
