"""One number of several models with its interval (Table 1)."""

from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure

from deepvideo_tf.visualization.plots.figure import BLUE, GRAY, new_figure, one_line


def models(
    rows: Sequence[tuple[str, float, Sequence[float] | None, float | None]],
    *,
    measure: str = "Video Hit@1",
    chance: float | None = None,
    title: str | None = None,
) -> Figure:
    """Draw one number of several models with its interval, and the paper's (Table 1).

    Args:
        rows: from the top, (name, value, (lower bound, upper bound) or None, the paper's value or None).
        measure: name of the number.
        chance: value at random; None to leave it out.
        title: above the figure.

    Returns:
        `Figure`.
    """
    figure = new_figure(7.5, 0.36 * len(rows) + 1.6, title)
    panel = figure.subplots()
    paper_style: dict[str, Any] = {"color": "black", "markerfacecolor": "white", "markersize": 6}
    for y, (_, value, ends, papers) in enumerate(rows):
        if ends is not None:
            panel.plot(ends, [y, y], color=BLUE, linewidth=2, label="95% interval" if y == 0 else None)
        panel.plot(value, y, "o", color=BLUE, markersize=7, label="measured" if y == 0 else None)
        if papers is not None:
            panel.plot(papers, y, "D", zorder=3, **paper_style)
    if any(papers is not None for *_, papers in rows):
        panel.plot([], [], "D", label="the paper, on its own data", **paper_style)
    if chance is not None:
        panel.axvline(chance, color="black", linestyle=":", linewidth=1, label="chance")
    panel.set_yticks(range(len(rows)), [one_line(name) for name, *_ in rows], fontsize=9)
    panel.set(xlim=(0, 1), ylim=(len(rows) - 0.4, -0.6), xlabel=measure)
    panel.grid(axis="x", color=GRAY, linewidth=0.8)
    panel.set_axisbelow(True)
    panel.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower center", ncols=4, fontsize=8, frameon=False)
    return figure
