"""The section about how alike teacher and student are: heat maps as the paper's Figure 3, undistillable classes.

In: `Similarity`, or the reason why there is none. Out: HTML.
Leaves out: measuring (`similarity.py`).
"""

from __future__ import annotations

from tdspec.report import html
from tdspec.report.plots import heat_map
from tdspec.report.similarity_file import HIGH, SIGNIFICANT, Similarity, Student

ABOUT = (
    "Linear CKA (Kornblith et al. 2019) between what the student and the teacher make of the same validation examples, "
    "up to 20 of each class: 1 where one is the other rotated and scaled, 0 where they have nothing in common. "
    "Few examples in many dimensions are never at 0: `p` is how likely the value of the high states is as large for "
    "examples paired at random."
)
MEANING = (
    f"A class is called undistillable where the student's high state is no more like the teacher's than at random "
    f"(p of {SIGNIFICANT:g} or more): what the teacher knows of it has not arrived."
)


def similarity_section(similarity: Similarity | None, reason: str) -> str:
    """The section.

    Args:
        similarity: what was measured, or None.
        reason: why nothing was, or "".
    """
    if similarity is None:
        text = f"Not measured: {reason}." if reason else "Not measured yet: `tdspec report` with this folder does it."
        return html.section("Similarity", html.paragraph(text, "note"))
    maps = [_spaces(student) for student in similarity.students]
    parts: list[str] = [html.paragraph(ABOUT, "note"), html.panels(maps)]
    if len(similarity.groups) > 1:
        parts += [html.panels([_classes(similarity, student) for student in similarity.students]), *_lists(similarity)]
    parts.append(_table(similarity))
    if similarity.left_out:
        parts.append(html.paragraph(similarity.left_out, "note"))
    return html.section("Similarity", *parts)


def _spaces(student: Student) -> str:
    rows = [f"student {space}" for space in student.spaces]
    columns = [f"teacher\n{space}" for space in student.teacher_spaces]
    picture = heat_map(f"CKA, {student.name}", rows, columns, student.mean())
    return html.figure(picture, "Mean over classes, or over all examples where there are none.", "plot")


def _classes(similarity: Similarity, student: Student) -> str:
    shared = [space for space in student.spaces if space in student.teacher_spaces]
    columns = [student.of(space) for space in shared]
    values = [list(row) for row in zip(*columns, strict=True)]
    picture = heat_map(f"CKA by class, {student.name}", list(similarity.groups), shared, values)
    return html.figure(picture, "Each space of the student with the same of the teacher.", "plot")


def _lists(similarity: Similarity) -> list[str]:
    """The undistillable classes, with and without distillation; those whose accuracy fell."""
    sentences = [html.paragraph(MEANING, "note")]
    for student in similarity.students:
        found = similarity.undistillable(student)
        names = ", ".join(found) if found else "none"
        sentences.append(html.paragraph(f"Undistillable, {student.name}: {names}."))
    if len(similarity.students) > 1:
        fell = [f"{group} ({own:.3f} against {other:.3f})" for group, own, other in similarity.fell()]
        text = f"Classes with a lower validation accuracy than without a teacher: {', '.join(fell) or 'none'}."
        sentences.append(html.paragraph(text))
    return list(sentences)


def _table(similarity: Similarity) -> str:
    header = ["class", "examples"]
    for student in similarity.students:
        header += [f"high states, {student.name}", "p"]
        header += [f"accuracy, {student.name}"] if student.accuracy else []
    rows = []
    for index, group in enumerate(similarity.groups):
        row = [group, f"{similarity.counts[index]} of {similarity.totals[index]}"]
        for student in similarity.students:
            row += [f"{student.of(HIGH)[index]:.3f}", f"{student.chance[index]:.3f}"]
            row += [f"{student.accuracy[index]:.3f}"] if student.accuracy else []
        rows.append(row)
    numbers = tuple(range(1, len(header)))
    return html.folded_table("All numbers of the high states", header, rows, numbers=numbers)
