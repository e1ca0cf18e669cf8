"""During training: each epoch the terms' shares of the student's gradient, and warnings, of terms that died, that drown
the others, or are drowned.

In: a `PullMeter` and one global batch, kept from before the first step. Out: `gradient_share/<term>` beside an epoch's
other figures, and lines of text. No variable changes, so that a run with these checks is the run without them.
Leaves out: the checks before the first step (`preflight.py`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras

from tdspec.graph.distiller import Distiller
from tdspec.graph.terms import Term
from tdspec.run.gradients import PARTS, Pull, PullMeter, full_weights, shares, weights_now

DROWNS, DROWNED = 0.95, 0.01
PREFIX = "gradient_share/"
WEIGHT_PREFIX = "teacher_weight/"


class TermWatch(keras.callbacks.Callback):
    """Adds each term's share to the figures of an epoch, for the callbacks behind it, and warns of terms, each once.

    Args:
        distiller: whose terms they are.
        meter: measures them.
        batch: a global batch; always the same, so that what changes is the student.
        balance: the spec's `losses.balance`.
        say: prints a line.
    """

    def __init__(self, distiller: Distiller, meter: PullMeter, batch: Any, balance: str, say: Callable[[str], None]):
        super().__init__()
        self._distiller, self._meter, self._batch, self._balance, self._say = distiller, meter, batch, balance, say
        self._before: Mapping[str, Pull] = {}
        self._dead: set[str] = set()

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        self._before = self._meter(self._batch)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        pulls = self._meter(self._batch)
        figures: dict[str, float] = {} if logs is None else logs
        # At a learning rate of 0 no term changes, and none is dead.
        trained = any(pull.value != self._before[name].value for name, pull in pulls.items())
        for name, pull in pulls.items():
            reason = _death(pull, self._before[name], figures.get(name), trained)
            if reason and name not in self._dead:
                self._dead.add(name)
                self._say(f"warning: the term '{name}' is dead after epoch {epoch + 1}: {reason}")
        if epoch == 0:
            weights = full_weights(self._distiller)
            for warning in imbalances(self._distiller.terms, pulls, weights, self._balance):
                self._say(warning)
        found = shares(pulls, weights_now(self._distiller), "student")
        figures.update({f"{PREFIX}{name}": share for name, share in found.items()})
        self._before = pulls


def imbalances(
    terms: Sequence[Term], pulls: Mapping[str, Pull], weights: Mapping[str, float], balance: str
) -> Sequence[str]:
    """Which terms drown the others in the student's low or high layers, or are drowned in both, and what to change.

    Asked after the first epoch. Before the first step it would mislead: what passes through codecs, which begin near
    zero, hardly pulls then, and what compares states with what a decoder tells pulls at its strongest.
    """
    of_parts = [found for found in (shares(pulls, weights, part) for part in PARTS) if any(found.values())]
    remedy = "" if balance == "auto" else ", or write losses.balance: auto"
    warnings = []
    for term in terms:
        most = max((found[term.name] for found in of_parts), default=0.0)
        if DROWNS < most < 1:  # at 1 the others have none
            what = f"drowns the others after epoch 1: {most:.0%} of the gradient in a part of the student; lower"
        elif 0 < most < DROWNED:
            what = f"is drowned after epoch 1: {most:.1%} of the gradient in the student's layers; raise"
        else:
            continue
        warnings.append(f"warning: '{term.name}' {what} {term.weight_key}{remedy}")
    return warnings


class TeacherWeights(keras.callbacks.Callback):
    """Adds what the learned weight of each teacher has come to, exp(-s), to the figures of an epoch.

    Args:
        distiller: whose teachers they are.
    """

    def __init__(self, distiller: Distiller):
        super().__init__()
        self._distiller = distiller

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        figures: dict[str, float] = {} if logs is None else logs
        for name, scale in self._distiller.teacher_scales.items():
            figures[f"{WEIGHT_PREFIX}{name}"] = math.exp(-float(scale.numpy()))


def _death(pull: Pull, before: Pull, mean: float | None, trained: bool) -> str:
    """Why a term is dead, or ""."""
    if mean == 0:
        return "its value is 0 on the whole epoch"
    if pull.anywhere == 0 and before.anywhere == 0 and pull.value != 0:
        return "its gradient is 0"
    if trained and pull.value == before.value != 0:
        return "its value has not changed"
    return ""
