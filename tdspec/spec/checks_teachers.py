"""Rules about several teachers; each of them alone is checked by the rules about one.

In: `Facts`. Out: problems; and problems about `teacher`, said of one of `teachers`.
Leaves out: whether the teachers' models can be built and cut (`graph/`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from tdspec.spec.facts import Facts
from tdspec.spec.problems import Problem
from tdspec.spec.words import quoted

_KEY = re.compile(r"\bteacher(?=\.[a-z])")


def key_of(index: int) -> str:
    """The key of a teacher in the list."""
    return f"teachers[{index}]"


def about(index: int, text: str) -> str:
    """A text that names keys of `teacher`, about one of several."""
    return _KEY.sub(key_of(index), text)


def of_teacher(problem: Problem, index: int) -> Problem:
    """A problem of a spec with one teacher, said of one of several."""
    path = ("teachers", index, *problem.path[1:]) if problem.path[:1] == ("teacher",) else problem.path
    return replace(problem, path=path, message=about(index, problem.message), hint=about(index, problem.hint))


def check_teachers(facts: Facts) -> Iterator[Problem]:
    """What is wrong with the list itself."""
    if "teachers" not in facts.values:
        return
    if "teacher" in facts.written:
        message = "found teacher and teachers, expected one of them"
        yield Problem(("teachers",), "choice", message, "move teacher into the list, or delete one", at_key=True)
        return
    if facts.values["data"]["teacher_cache"]:
        message = "found a cache beside teachers, expected none: the states of one teacher are kept"
        yield Problem(("data", "teacher_cache"), "teacher-cache", message, "delete teacher_cache", at_key=True)
    names: dict[str, int] = {}
    for index, item in enumerate(facts.values["teachers"]):
        name, path = item["name"], ("teachers", index, "name")
        if name == "teacher" or name.startswith("student"):
            # what belongs to the student or to an only teacher is named so
            yield Problem(path, "value", f"found {quoted(name)}, expected no name that stands for another model")
        elif name != name.strip():
            yield Problem(path, "value", f"found the text {name!r}, expected no line break at its end")
        elif name in names:
            message = f"found {quoted(name)}, the name of {key_of(names[name])}, expected a name of its own"
            yield Problem(path, "value", message)
        names.setdefault(name, index)
    if facts.values["method"] != "scratch" and all(item["weight"] == 0 for item in facts.values["teachers"]):
        message = "found weight 0 for every teacher, expected one above 0"
        yield Problem(("teachers",), "losses", message, "raise one, or write method: scratch", at_key=True)
