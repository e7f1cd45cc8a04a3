"""Figures as SVG to be put into a page: small, reproducible, in the colours of its style sheet."""

from __future__ import annotations

import hashlib
import html
import io
import re
import textwrap
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from math import ceil
from typing import Any
from xml.etree import ElementTree

from rich.cells import cell_len

from counterpoise.errors import printable

from .summary import Headline, Shown, spaced

WIDTH = 7.6  # inches
LEGEND = 110  # letters in a line of a legend
# Each figure stays below 40 KB.
MOST_DOTS = 72
MOST_ROWS = 12  # methods in a panel of dots
MOST_PANELS = 6
MOST_EPOCHS = 40  # points of a curve
MOST_SUBSETS = 7  # of three modalities; as many as there are colours

# Stand-ins that become CSS variables, so that figures follow light and dark.
INK, MUTED, GRID, ACCENT, PAPER = (f"#01010{n}" for n in range(1, 6))
SERIES = tuple(f"#01020{n}" for n in range(1, MOST_SUBSETS + 1))
VARIABLES = {
    INK: "ink",
    MUTED: "muted",
    GRID: "rule",
    ACCENT: "accent",
    PAPER: "paper",
    **{colour: f"series-{n}" for n, colour in enumerate(SERIES, start=1)},
}
DASHES = ("-", "-", "-", (0, (5, 1.5)), (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (4, 1, 1, 1)))

Curves = Mapping[str, Sequence[tuple[int, float]]]  # subset -> (epoch, value), ascending


def dots(table: Headline, reference: str = "unimodal") -> list[str]:
    """A panel for each subset: a dot for each method, a bar for the deviation over seeds.

    Args:
        table: what is shown, but of many subsets only :func:`shown_subsets`.
        reference: a method whose value is also drawn as a dashed line through the panel.
    """
    methods = list(table.rows)
    columns = shown_subsets(table.columns)
    places = [table.columns.index(column) for column in columns]
    rows = {method: [cells[place] for place in places] for method, cells in table.rows.items()}
    table = replace(table, columns=columns, rows=rows)
    most = min(MOST_ROWS, MOST_DOTS // len(columns))
    return [
        _dots(table, methods[start : start + most], reference)
        for start in range(0, len(methods), most)
    ]


def curves(found: Mapping[str, Curves], metric: Shown) -> list[str]:
    """A panel for each method: the metric on validation after each epoch, a line for each subset.

    Args:
        found: method -> curves; :func:`shown_subsets` and :func:`thin` keep them small.
        metric: what is shown.
    """
    methods = list(found)
    return [
        _curves({m: found[m] for m in methods[start : start + MOST_PANELS]}, metric)
        for start in range(0, len(methods), MOST_PANELS)
    ]


def shown_subsets(columns: Sequence[str]) -> list[str]:
    """The subsets that figures show: all, or the whole and the single ones where they are many."""
    if len(columns) <= MOST_SUBSETS:
        return list(columns)
    return [columns[0], *(c for c in columns if "+" not in c)][:MOST_SUBSETS]


def thin(epochs: int) -> int:
    """Every how many epochs a curve has a point."""
    return max(1, ceil(epochs / MOST_EPOCHS))


def _dots(table: Headline, methods: Sequence[str], reference: str) -> str:
    scale = 100 if table.metric.percent else 1
    across = min(4, len(table.columns))
    down = ceil(len(table.columns) / across)
    with _style():
        figure = _figure(WIDTH, down * (0.24 * len(methods) + 0.75))
        grid = figure.subplots(down, across, squeeze=False, sharex=True)
        for number, axes in enumerate(grid.flat):
            if number >= len(table.columns):
                axes.remove()
                continue
            line = table.rows.get(reference, [None] * len(table.columns))[number]
            if line and line.mean is not None:
                axes.axvline(scale * line.mean, color=MUTED, linestyle=(0, (3, 2)), linewidth=1)
            shown = [
                (row, method, scale * cell.mean, scale * (cell.std or 0))
                for row, method in enumerate(methods)
                if (cell := table.rows[method][number]) and cell.mean is not None
            ]
            for row, method, mean, std in shown:
                axes.plot([mean - std, mean + std], [row, row], color=ACCENT, linewidth=1.4)
                face = PAPER if method == reference else ACCENT
                axes.plot(mean, row, "o", markersize=5, color=ACCENT, markerfacecolor=face)
            axes.set_ylim(len(methods) - 0.4, -0.6)
            names = [_short(m) for m in methods] if number % across == 0 else []
            axes.set_yticks(range(len(names)), names)
            axes.grid(axis="x")
            axes.locator_params(axis="x", nbins=4)
            axes.tick_params(labelbottom=True)
            axes.set_title(_wrap(spaced(table.columns[number]), 80 // across), loc="left")
        figure.supxlabel(f"test {table.metric.label}", fontsize=8.5)
        return _svg(
            figure,
            f"Dot plot of test {table.metric.label} for each subset of the modalities and each of "
            f"the methods {', '.join(methods)}; the numbers are in the table above",
        )


def _curves(found: Mapping[str, Curves], metric: Shown) -> str:
    scale = 100 if metric.percent else 1
    subsets = list(dict.fromkeys(s for one in found.values() for s in one))
    across = min(3, len(found))
    down = ceil(len(found) / across)
    with _style():
        figure = _figure(WIDTH, down * 1.75 + 0.5)
        grid = figure.subplots(down, across, squeeze=False, sharex=True, sharey=True)
        handles: dict[str, Any] = {}
        for axes, (method, lines) in zip(grid.flat, found.items(), strict=False):
            for subset, points in lines.items():
                place = subsets.index(subset)
                (handles[subset],) = axes.plot(
                    [epoch for epoch, _ in points],
                    [scale * value for _, value in points],
                    color=SERIES[place],
                    linestyle=DASHES[place],
                    linewidth=1.5,
                    marker="o" if len(points) == 1 else "",
                    markersize=4,
                )
            axes.grid(axis="y")
            axes.locator_params(axis="x", nbins=4, integer=True, min_n_ticks=1)
            axes.locator_params(axis="y", nbins=4)
            axes.set_title(_short(method, 28), loc="left")
        for axes in list(grid.flat)[len(found) :]:
            axes.remove()
        for axes in grid[-1][: len(found) - across * (down - 1)]:
            axes.set_xlabel("epoch")
        figure.supylabel(f"validation {metric.label}", fontsize=8.5)
        known = [s for s in subsets if s in handles]
        names = [_short(spaced(subset), 40) for subset in known]
        longest = max(map(cell_len, names), default=0)
        figure.legend(
            [handles[s] for s in known],
            # matplotlib before 3.10 leaves out what begins with _
            [f" {name}" if name.startswith("_") else name for name in names],
            loc="outside lower center",
            ncols=max(1, min(4, len(known), LEGEND // (longest + 8))),
            frameon=False,
        )
        return _svg(
            figure,
            f"Curves of validation {metric.label} over epochs for each subset of the modalities, "
            f"in a panel for each of the methods {', '.join(found)}",
        )


def _figure(width: float, height: float) -> Any:
    from matplotlib.figure import Figure  # half a second: only where it is used

    return Figure(figsize=(width, height), layout="constrained")


@contextmanager
def _style() -> Iterator[None]:
    import matplotlib

    # The user's own settings do not count, but a back end would be loaded, and stay.
    known = matplotlib.rcParamsDefault
    settings: dict[Any, Any] = {name: known[name] for name in known if "backend" not in name}
    settings |= {
        "svg.fonttype": "none",
        "svg.hashsalt": "counterpoise",
        "text.parse_math": False,  # a dollar in a method's name is a dollar
        "font.family": "sans-serif",
        "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib: the same layout everywhere
        "font.size": 8.5,
        "axes.titlesize": 9,
        "axes.labelsize": 8.5,
        "text.color": INK,
        "axes.labelcolor": MUTED,
        "axes.titlecolor": INK,
        "xtick.labelcolor": MUTED,
        "ytick.labelcolor": INK,
        "axes.edgecolor": GRID,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.spines.left": False,
        "axes.axisbelow": True,
        "grid.color": GRID,
        "grid.linewidth": 0.8,
        "xtick.major.size": 0,
        "ytick.major.size": 0,
    }
    # The reader's fonts draw the text, so a glyph that DejaVu lacks is no loss.
    with warnings.catch_warnings(), matplotlib.rc_context(settings):
        warnings.simplefilter("ignore", UserWarning)
        yield


def _svg(figure: Any, label: str) -> str:
    """The figure as one ``<svg>`` element without anything that a page does not need."""
    buffer = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    root = ElementTree.fromstring(printable(buffer.getvalue()))
    # Ids stay unique when several figures are put into one page.
    prefix = "f" + hashlib.sha256(label.encode()).hexdigest()[:6]
    _, _, width, height = map(float, root.attrib["viewBox"].split())
    return (
        f'<svg role="img" aria-label="{html.escape(label)}" viewBox="0 0 {width:g} {height:g}" '
        f'width="{width:g}" height="{height:g}">\n'
        f"{''.join(_element(child, prefix) for child in root)}</svg>"
    )


def _element(node: ElementTree.Element, prefix: str) -> str:
    """One element of matplotlib's as it goes into the page, or nothing if it draws nothing."""
    tag = node.tag.rpartition("}")[2]
    inner = "".join(_element(child, prefix) for child in node)
    given = {name.rpartition("}")[2]: value for name, value in node.attrib.items()}
    if tag == "style" or given.get("style") == "fill: none":
        return ""
    if tag == "g":
        given.pop("id", None)
    if not given and tag in ("g", "defs"):
        return f"<defs>{inner}</defs>\n" if inner and tag == "defs" else inner
    text = html.escape(node.text.strip()) if node.text else ""
    attributes = "".join(
        f' {name}="{html.escape(short)}"'
        for name, value in given.items()
        if (short := _attribute(name, value, prefix))
    )
    return f"<{tag}{attributes}>{text}{inner}</{tag}>\n"


def _attribute(name: str, value: str, prefix: str) -> str:
    if name == "id":
        return prefix + value
    if name == "href":
        return f"#{prefix}{value[1:]}"
    if name == "clip-path":
        return value.replace("#", f"#{prefix}")
    if name == "style":
        styles = [part for part in value.split("; ") if not part.startswith("font-family")]
        value = ";".join(styles).replace(": ", ":")
        for colour, variable in VARIABLES.items():
            value = value.replace(colour, f"var(--{variable})")
        return value
    if name == "transform" and value.startswith("rotate(-0 "):
        return ""
    value = " ".join(re.sub(r"\d+\.\d{2,}", lambda n: f"{float(n[0]):.1f}", value).split())
    # After a move, further points are lines without saying so.
    return value.replace(" L ", " ") if name == "d" and not re.search("[CQ]", value) else value


def _short(name: str, most: int = 34) -> str:
    return name if len(name) <= most else name[: most - 1] + "…"


def _wrap(name: str, most: int) -> str:
    return "\n".join(textwrap.wrap(name, most, max_lines=2, placeholder="…"))
