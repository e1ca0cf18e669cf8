"""Curves: the same bytes for the same numbers, colours of the page, ids that never meet."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree

from tdspec.report.plots import ACCENT, SECOND, VARIABLES, Series, Spot, curves, spots


def two(title: str = "accuracy", values: tuple[float, ...] = (0.1, 0.5, 0.4)) -> str:
    return curves(
        title,
        [
            Series("student", [1, 2, 3], values, ACCENT, "-", marked=2),
            Series("control", [1, 2, 3], [0.2, 0.3, 0.35], SECOND, "--", marked=3),
        ],
    )


def ids(svg: str) -> set[str]:
    return set(re.findall(r'\bid="([^"]+)"', svg))


def test_the_same_numbers_give_the_same_bytes() -> None:
    assert two() == two()
    assert "dc:date" not in two()


def test_curves_are_told_apart_by_line_style_and_named() -> None:
    svg = two()
    assert "stroke-dasharray" in svg
    assert ">student<" in svg
    assert ">control<" in svg


def test_colours_are_those_of_the_page() -> None:
    svg = two()
    assert "var(--accent)" in svg
    assert not any(stand_in in svg for stand_in in VARIABLES)


def test_two_pictures_share_no_id_and_refer_to_their_own() -> None:
    first, second = two("task"), two("logit")
    assert not ids(first) & ids(second)
    assert set(re.findall(r'(?:url\(#|href="#)([^)"]+)', first)) <= ids(first)


def test_a_picture_is_well_formed() -> None:
    assert ElementTree.fromstring(two("a & b")).tag.endswith("svg")


def test_much_spread_is_shown_logarithmically_and_one_epoch_as_a_dot() -> None:
    assert "<tspan" in two(values=(0.001, 1.0, 10.0))  # the exponents of powers of ten
    assert "<tspan" not in two(values=(0.3, 0.2, 0.4))
    assert ElementTree.fromstring(curves("t", [Series("a", [1], [0.5], ACCENT, "-", 1)])) is not None


def test_spots_have_a_row_for_each_group() -> None:
    svg = spots("test accuracy", [Spot("scratch", [0.5, 0.6], 0.55, 0.05), Spot("talking", [0.7], 0.7, None)])
    assert ">scratch<" in svg
    assert ">talking<" in svg
    assert ElementTree.fromstring(svg) is not None
