"""Figures hold what they are given, as text that can be searched."""

from __future__ import annotations

import re

from counterpoise.report.figures import curves, dots, shown_subsets, thin
from counterpoise.report.summary import Cell, Headline, Shown

ACCURACY = Shown.find("accuracy")


def test_a_dot_and_a_bar_for_each_cell_that_there_is() -> None:
    cell = Cell(0.5, 0.1, 2, percent=True)
    gone = Cell(None, None, 2, percent=True)
    rows = {"unimodal": [cell, cell], "$x^2$ & co": [cell, None], "lost": [gone, cell]}
    (figure,) = dots(Headline("toy", ACCURACY, ["a+b", "a"], rows))
    assert figure.count("<use ") == 4
    assert figure.count("stroke-dasharray") == 2  # a line for unimodal in each panel
    texts = re.findall(r">([^<>]+)</text>", figure)
    assert {"a + b", "a", "unimodal", "$x^2$ &amp; co", "lost"} <= set(texts)
    assert "test accuracy in %" in texts


def test_a_curve_for_each_subset() -> None:
    lines = {"a+b": [(0, 0.5), (1, 0.75)], "a": [(0, 0.25), (1, 0.5)]}
    (figure,) = curves({"mla": lines, "joint": lines}, ACCURACY)
    for number in (1, 2):
        assert figure.count(f"stroke:var(--series-{number})") == 3  # two panels and the legend
    assert {"mla", "joint", "a + b", "a", "epoch"} <= set(re.findall(r">([^<>]+)</text>", figure))


def test_many_methods_make_several_figures() -> None:
    assert len(curves({str(n): {"a": [(0, 0.5)]} for n in range(13)}, ACCURACY)) == 3
    cells = {str(n): [Cell(0.5, None, 1, percent=True)] for n in range(13)}
    assert len(dots(Headline("toy", ACCURACY, ["a"], cells))) == 2  # type: ignore[arg-type]


def test_many_subsets_and_epochs_are_thinned() -> None:
    assert shown_subsets(["a+b", "a", "b"]) == ["a+b", "a", "b"]
    many = ["a+b+c+d", *(f"{x}+{y}" for x in "abcd" for y in "abcd"), *"abcd"]
    assert shown_subsets(many) == ["a+b+c+d", "a", "b", "c", "d"]
    assert [thin(n) for n in (0, 1, 40, 41, 200)] == [1, 1, 1, 2, 5]
