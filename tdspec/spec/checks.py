"""Rules about methods, terms, tasks and training that the schema cannot say; and the tuple of all rules.

In: `Facts`. Out: problems.
Leaves out: data (`checks_data.py`), models (`checks_models.py`), what only the built graph can tell.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from tdspec.spec.checks_data import DATA_CHECKS
from tdspec.spec.checks_encoder import ENCODER_CHECKS
from tdspec.spec.checks_models import MODEL_CHECKS
from tdspec.spec.checks_teachers import check_teachers, of_teacher
from tdspec.spec.facts import ABSENT, Check, Facts, dig
from tdspec.spec.problems import Problem
from tdspec.spec.words import one_of, quoted

# Terms that compare what each iteration says: none without one.
ITERATED = ("interaction", "interpretation")
TALK = (*ITERATED, "message_consistency", "state_consistency")
TERMS = {
    "scratch": ("task",),
    "logit": ("task", "logit"),
    "dist": ("task", "dist"),
    "nkd": ("task", "nkd"),
    "feature": ("task", "feature"),
    "fitnet": ("task", "fitnet"),
    "hybrid": ("task", "logit", "feature"),
    "vkd": ("task", "vkd"),
    "relational": ("task", "relational"),
    "attention": ("task", "attention"),
    "manifold": ("task", "manifold"),
    "talking": ("task", *TALK),
    "talking_hybrid": ("task", *TALK, "logit"),
    "one_way_control": ("task", *TALK),
    "one_way_control_hybrid": ("task", *TALK, "logit"),
}
LOGIT_TERMS = frozenset(("logit", "dist", "nkd"))
LOGIT_METHODS = frozenset(method for method, terms in TERMS.items() if LOGIT_TERMS.intersection(terms))
TALKING_METHODS = tuple(method for method, terms in TERMS.items() if "interaction" in terms)
# of these, those whose teacher interprets its own message instead of the student's
CONTROL_METHODS = frozenset(("one_way_control", "one_way_control_hybrid"))
MESSAGE_METHODS = frozenset((*TALKING_METHODS, "feature", "fitnet", "hybrid"))
CUT_METHODS = MESSAGE_METHODS | {"vkd", "relational", "attention", "manifold"}


def _teacher_needed(facts: Facts) -> Iterator[Problem]:
    method = facts.values["method"]
    if method != "scratch" and "teacher" not in facts.values:
        message = f"found nothing, expected a mapping, since the method is '{method}'"
        yield Problem(("teacher",), "method", message, "write teacher:, or method: scratch")


def _cuts_needed(facts: Facts) -> Iterator[Problem]:
    method = facts.values["method"]
    for side, model in facts.sides():
        if method in CUT_METHODS and "cut" not in model:
            message = f"found nothing, expected a mapping, since the method '{method}' compares hidden states"
            hint = "write cut: {low: 1, high: 2}; `tdspec layers` lists where it can be"
            yield Problem((side, "cut"), "method", message, hint)


def _cuts_in_order(facts: Facts) -> Iterator[Problem]:
    interprets = facts.values["method"] in TALKING_METHODS and facts.values["communication"]["iterations"] > 0
    for side, model in facts.sides():
        if "cut" not in model:
            continue
        low, high = model["cut"]["low"], model["cut"]["high"]
        if isinstance(low, int) and isinstance(high, int) and low > high:
            yield Problem((side, "cut", "low"), "cut", f"found {low}, expected at most high, which is {high}")
        elif low == high and interprets:
            message = f"found {quoted(high)}, the same as low, expected at least one layer between them"
            hint = "an iteration runs the layers between low and high; raise high, or write iterations: 0"
            yield Problem((side, "cut", "high"), "cut", message, hint)


def _unused_terms(facts: Facts) -> Iterator[Problem]:
    method = facts.values["method"]
    if method == "scratch" and "teacher" in facts.values:
        return  # a control: the spec of another method, run without its teacher
    for term in facts.values["losses"]:
        if term != "balance" and term not in TERMS[method] and facts.is_written("losses", term):
            message = f"found a term that the method '{method}' does not have, expected {one_of(TERMS[method])}"
            yield Problem(("losses", term), "no-effect", message, severity="warning", at_key=True)
    silent = facts.values["communication"]["iterations"] == 0 and method in TALKING_METHODS
    for term in ITERATED:
        if silent and facts.is_written("losses", term):
            message = "found a term of the iterations, expected iterations above 0"
            yield Problem(("losses", term), "no-effect", message, severity="warning", at_key=True)


def _weightless(facts: Facts) -> Iterator[Problem]:
    for term in TERMS[facts.values["method"]]:
        written = dig(facts.written, ("losses", term))
        if isinstance(written, dict) and "weight" not in written and facts.values["losses"][term]["weight"] == 0:
            message = "found no weight, expected one above 0: left out, it is 0, and the term has no effect"
            yield Problem(("losses", term), "no-effect", message, severity="warning", at_key=True)


def _unused_iterations(facts: Facts) -> Iterator[Problem]:
    method = facts.values["method"]
    control = method == "scratch" and "teacher" in facts.values
    if method not in TALKING_METHODS and not control and facts.is_written("communication", "iterations"):
        message = f"found iterations for the method '{method}', expected {one_of(TALKING_METHODS)}"
        path = ("communication", "iterations")
        yield Problem(path, "no-effect", message, severity="warning", at_key=True)


def _something_optimised(facts: Facts) -> Iterator[Problem]:
    losses, method = facts.values["losses"], facts.values["method"]
    silent = facts.values["communication"]["iterations"] == 0
    terms = [term for term in TERMS[method] if not (silent and term in ITERATED)]
    if all(losses[term]["weight"] == 0 for term in terms):
        message = f"found weight 0 for every term of the method '{method}', expected one above 0"
        yield Problem(("losses",), "losses", message, f"the terms are {one_of(terms)}", at_key=True)


def _balance(facts: Facts) -> Iterator[Problem]:
    losses, method, path = facts.values["losses"], facts.values["method"], ("losses", "balance")
    if losses["balance"] == "none" or (method == "scratch" and "teacher" in facts.values):
        return
    if method == "scratch":
        message = "found 'auto' for the method 'scratch', expected a method with several terms"
        yield Problem(path, "no-effect", message, severity="warning")
    elif losses["task"]["weight"] == 0:
        message = "found 'auto' beside a task of weight 0, expected 'none': the other terms are measured against it"
        yield Problem(path, "losses", message, "write balance: none, or give losses.task a weight")


def _logit_distance(facts: Facts) -> Iterator[Problem]:
    logit, task = facts.values["losses"]["logit"], facts.values["task"]["type"]
    if "logit" not in TERMS[facts.values["method"]]:
        return
    path = ("losses", "logit")
    if logit["distance"] == "kl" and task == "regression":
        message = "found 'kl' for a regression, expected 'auto' or 'l2'"
        yield Problem((*path, "distance"), "losses", message, "kl compares classes; a number is compared by l2")
    l2 = logit["distance"] == "l2" or (logit["distance"] == "auto" and task == "regression")
    if l2 and facts.is_written(*path, "temperature"):
        message = "found a temperature, expected none beside the distance l2"
        yield Problem((*path, "temperature"), "no-effect", message, severity="warning", at_key=True)


def _classes_only(facts: Facts) -> Iterator[Problem]:
    method, task = facts.values["method"], facts.values["task"]["type"]
    if method in {"dist", "nkd"} and task != "classification":
        message = f"found '{method}' for a {task}, expected the task 'classification', whose classes it compares"
        yield Problem(("method",), "method", message, "write method: logit")


def _iteration_weights(facts: Facts) -> Iterator[Problem]:
    iterations = facts.values["communication"]["iterations"]
    weights, path = facts.values["losses"]["interaction"]["iteration_weights"], ("losses", "interaction")
    if weights and len(weights) != iterations and facts.values["method"] in TALKING_METHODS:
        message = f"found {len(weights)} of them, expected {iterations}, one for each of communication.iterations"
        yield Problem((*path, "iteration_weights"), "losses", message)
    elif weights and not any(weights):
        message = "found 0 for every iteration, expected one above 0"
        yield Problem((*path, "iteration_weights"), "losses", message, "write interaction: 0")


def _warmup(facts: Facts) -> Iterator[Problem]:
    for term, loss in facts.values["losses"].items():
        if facts.is_written("losses", term, "warmup") and loss["schedule"] != "linear_warmup":
            message = f"found warmup for the schedule '{loss['schedule']}', expected it only for 'linear_warmup'"
            hint = "write schedule: linear_warmup, or delete warmup"
            yield Problem(("losses", term, "warmup"), "losses", message, hint, at_key=True)


def _detach_iterates(facts: Facts) -> Iterator[Problem]:
    method, path = facts.values["method"], ("communication", "detach")
    iterates = method in TALKING_METHODS and facts.values["communication"]["iterations"] > 0
    if facts.values["communication"]["detach"] and not iterates and method != "scratch":
        message = "found messages of the iterations, expected none: there is no iteration"
        yield Problem(path, "no-effect", message, severity="warning", at_key=True)


def _teacher_predicts(facts: Facts) -> Iterator[Problem]:
    method, teacher = facts.values["method"], facts.values.get("teacher")
    if method not in LOGIT_METHODS or teacher is None or "spec" in teacher["backbone"]:
        return
    if teacher["head"] == "none":
        message = f"found 'none', expected 'own' or 'probe', since the method '{method}' compares predictions"
        hint = "write head: own where the backbone's output is the prediction, or head: probe to fit a linear one"
        yield Problem(("teacher", "head"), "method", message, hint)


def _teacher_agrees(facts: Facts) -> Iterator[Problem]:
    reference = facts.references.get("teacher")
    if facts.values["method"] not in LOGIT_METHODS or reference is None:
        return
    ours, theirs = facts.values["task"], reference["task"]
    path, file = ("teacher", "backbone", "spec"), facts.values["teacher"]["backbone"]["spec"]
    counts = (ours["num_classes"], theirs["num_classes"])
    if ours["type"] != theirs["type"]:
        message = f"found the task '{theirs['type']}' in {file}, expected '{ours['type']}', this spec's task.type"
        yield Problem(path, "task", message, f"the method '{facts.values['method']}' compares predictions of one task")
    elif "auto" not in counts and counts[0] != counts[1] and "class_map" not in facts.values["teacher"]:
        message = f"found {counts[1]} classes in {file}, expected {counts[0]}, this spec's task.num_classes"
        yield Problem(path, "task", message, "write teacher.class_map: which of its classes each of yours is")


def _momentum(facts: Facts) -> Iterator[Problem]:
    optimizer = facts.values["train"]["optimizer"]
    path = ("train", "optimizer", "momentum")
    if optimizer["type"] != "sgd" and facts.is_written(*path):
        message = f"found momentum for the optimizer '{optimizer['type']}', expected it only for 'sgd'"
        yield Problem(path, "train", message, "delete it, or write type: sgd", at_key=True)


def _replicas(facts: Facts) -> Iterator[Problem]:
    train, path = facts.values["train"], ("train", "replicas")
    if train["strategy"] != "mirrored" and facts.is_written(*path):
        message = f"found {train['replicas']} for the strategy '{train['strategy']}', expected it only for 'mirrored'"
        yield Problem(path, "train", message, "write strategy: mirrored, or delete replicas", at_key=True)


def _batch_divides(facts: Facts) -> Iterator[Problem]:
    train, batch_size = facts.values["train"], facts.values["data"]["batch_size"]
    replicas = train["replicas"] if train["strategy"] == "mirrored" and train["replicas"] != "auto" else 1
    factors = {"train.replicas": replicas, "train.accumulate_steps": train["accumulate_steps"]}
    named = {key: factor for key, factor in factors.items() if factor > 1}
    divisor = math.prod(named.values())
    if batch_size % divisor:
        are = "which is" if len(named) == 1 else "which make"
        message = f"found {batch_size}, expected a multiple of {' times '.join(named)}, {are} {divisor}"
        smaller = batch_size - batch_size % divisor
        hint = f"write {smaller} or {smaller + divisor}" if smaller else f"write {divisor}"
        yield Problem(("data", "batch_size"), "train", message, hint)


def _name(facts: Facts) -> Iterator[Problem]:
    name = dig(facts.values, ("name",))
    if name is not ABSENT and name != name.strip():
        yield Problem(("name",), "value", f"found the text {name!r}, expected no line break at its end")


CHECKS: tuple[Check, ...] = (
    Check(("name",), _name),
    Check(("method", "teacher"), _teacher_needed),
    Check(("method",), _cuts_needed),
    Check(("method", "communication"), _cuts_in_order),
    Check(("method", "losses", "communication", "teacher"), _unused_terms),
    Check(("method", "losses"), _weightless),
    Check(("method", "communication", "teacher"), _unused_iterations),
    Check(("method", "losses", "communication"), _something_optimised),
    Check(("method", "losses", "teacher"), _balance),
    Check(("method", "losses", "task"), _logit_distance),
    Check(("method", "task"), _classes_only),
    Check(("method", "losses", "communication"), _iteration_weights),
    Check(("losses",), _warmup),
    Check(("method", "communication"), _detach_iterates),
    Check(("method", "teacher"), _teacher_predicts),
    Check(("method", "teacher", "task"), _teacher_agrees),
    Check(("train",), _momentum),
    Check(("train",), _replicas),
    Check(("train", "data"), _batch_divides),
    *DATA_CHECKS,
    *MODEL_CHECKS,
    *ENCODER_CHECKS,
)


def run_checks(facts: Facts, refused: frozenset[str]) -> list[Problem]:
    """What every rule finds.

    Args:
        facts: the spec.
        refused: sections that the schema refuses; rules that read them do not run.
    """
    several = "teachers" in facts.values and "teacher" not in facts.written
    if "teachers" in refused:
        refused |= {"teacher"}
    found = [problem for problem in check_teachers(facts) if refused.isdisjoint(("teachers", "method", "data"))]
    for index, view in enumerate(facts.views() if several else (facts,)):
        problems = (problem for check in CHECKS if refused.isdisjoint(check.reads) for problem in check.run(view))
        found += [of_teacher(problem, index) if several else problem for problem in problems]
    return found
