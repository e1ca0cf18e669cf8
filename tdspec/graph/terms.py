"""Terms of the objective as data, and the distances they are measured by.

In: nothing. Out: `Term`, what each term compares, and every distance and formula by its name.
Leaves out: the tensors (`methods.py`), the reduction and the step (`distiller.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tdspec.graph import distances, predictions, relations
from tdspec.graph.distances import Distance
from tdspec.graph.plan_views import loss_key
from tdspec.spec.model import Losses

DISTANCES: dict[str, Distance] = {**distances.DISTANCES, **predictions.DISTANCES, **relations.DISTANCES}
# Those that compare an example with the others of its batch.
ACROSS_THE_BATCH = distances.ACROSS_THE_BATCH | predictions.ACROSS_THE_BATCH | relations.ACROSS_THE_BATCH
FORMULAS: dict[str, str] = {**distances.FORMULAS, **predictions.FORMULAS, **relations.FORMULAS}

STATES = ("student_low", "student_high")
NOTHING = ""  # in `Term.given`: what a pair is not handed


@dataclass(frozen=True)
class Schedule:
    """How a term's weight changes over a run: constant; linear_warmup from 0 over its first part; cosine down to 0."""

    type: str
    warmup: float


CONSTANT = Schedule("constant", 0.1)


@dataclass(frozen=True)
class Term:
    """One term of the objective: weight * sum over pairs of distance(target, prediction).

    Attributes:
        name: under which it is logged and listed in the plan.
        weight: its factor.
        distance: a key of DISTANCES, or the name of the task's loss.
        options: keyword arguments of the distance, such as temperature.
        target, prediction: names of tensors, pair by pair; "label" is the batch's label.
        pair_weights: a factor for each pair; () where all are 1.
        given: further tensors the distance is handed, by keyword, pair by pair; such as the label. NOTHING: none.
        detach: "target" or "prediction": through it, no gradient flows; "none".
        schedule: of the weight over the run.
        teacher: of several, the one it is about; "" where there is one, and for the task.
    """

    name: str
    weight: float
    distance: str
    target: tuple[str, ...]
    prediction: tuple[str, ...]
    options: Mapping[str, float] = field(default_factory=dict)
    pair_weights: tuple[float, ...] = ()
    given: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    detach: str = "none"
    schedule: Schedule = CONSTANT
    teacher: str = ""

    @property
    def key(self) -> str:
        """Its key in the spec's `losses`, which the terms of several teachers share."""
        return loss_key(self.name, self.teacher)

    @property
    def weight_key(self) -> str:
        """Where its weight is written; that of a user's own term is in Python."""
        return f"losses.{self.key}" if self.key in Losses.__dataclass_fields__ else "its weight"

    @property
    def needs_label(self) -> bool:
        """Whether an example without a label has no part in it."""
        return "label" in self.target or "label" in self.given

    @property
    def names(self) -> frozenset[str]:
        """The tensors it reads from the graph."""
        read = {name for names in (self.target, self.prediction, *self.given.values()) for name in names}
        return frozenset(read - {"label", NOTHING})


def comparisons(name: str, iterations: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What a term compares: (targets, predictions), pair by pair (arXiv 2310.03188, equations 1 to 8).

    Args:
        name: a term.
        iterations: K, for `interaction` and `interpretation`.
    """
    predicted = (("teacher_prediction",), ("student_prediction",))
    placed = (("teacher_low_placed", "teacher_high_placed"), STATES)
    fixed = {
        "task": (("label",), ("student_prediction",)),
        "logit": predicted,
        "dist": predicted,
        "nkd": predicted,
        # L_MC = d(m_g, m_h); one-way feature distillation is this term alone
        "feature": (("teacher_message",), ("student_message",)),
        "message_consistency": (("teacher_message",), ("student_message",)),
        # d({s_g, e_g}, D_g({s_h, e_h})): E_h is the identity, so the teacher's message is its states
        "fitnet": (STATES, ("student_low_told", "student_high_told")),
        # the student's last state, rotated into the teacher's space
        "vkd": (("teacher_high_placed",), ("student_high_projected",)),
        "relational": (("teacher_high",), ("student_high",)),
        "attention": placed,
        "manifold": placed,
        # L_SC = d({s_g, e_g}, D_g(m_h)) + d({s_h, e_h}, D_h(m_g))
        "state_consistency": (
            (*STATES, "teacher_low", "teacher_high"),
            ("student_low_told", "student_high_told", "teacher_low_told", "teacher_high_told"),
        ),
        # L_interact = sum over k of d({s_g, e_g}, D_g(m_h^k))
        "interaction": (
            STATES * iterations,
            tuple(f"{state}_{k}" for k in range(1, iterations + 1) for state in STATES),
        ),
        # sum over k of d(e_h, e~_h^k): the teacher is to see in the message what it sees in the data; not in the paper
        "interpretation": (
            ("teacher_high",) * iterations,
            tuple(f"teacher_high_{k}" for k in range(1, iterations + 1)),
        ),
    }
    return fixed[name]
