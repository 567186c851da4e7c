"""Average precision of each class (Table 4)."""

import math
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from deepvideo_tf.visualization.plots.figure import SKY, new_figure, one_line

LINES_PER_COLUMN = 60

Line = tuple[str, float | None, bool, float | None]  # name, value, whether it is a group, mean of the group


def ranked_by_group(
    ap: Mapping[str, float | None], groups: Mapping[str, Sequence[str]] | None = None
) -> list[tuple[str, float | None, list[str]]]:
    """Sort the classes of each group by average precision.

    Args:
        ap: from the class to its average precision, or None if it has no video.
        groups: from the group to its classes; None or empty for a single group.

    Returns:
        List of (group, mean over its classes with videos, classes from the highest on, those without a video last).
        Classes without a group come last, as `other classes`.
    """
    groups = dict(groups or {"all classes": list(ap)})
    rest = [name for name in ap if not any(name in names for names in groups.values())]
    if rest:
        groups["other classes"] = rest
    ranked = []
    for group, names in groups.items():
        known = [value for name in names if (value := ap[name]) is not None]
        order = sorted(names, key=lambda name: (ap[name] is None, -(ap[name] or 0), name))
        ranked.append((group, sum(known) / len(known) if known else None, order))
    return ranked


def average_precision(
    ap: Mapping[str, float | None], *, groups: Mapping[str, Sequence[str]] | None = None, title: str | None = None
) -> Figure:
    """Draw the average precision of each class as bars, by group, the highest first, with each group's mean (Table 4).

    Args:
        ap: from the class to its average precision, or None if it has no video.
        groups: from the group to its classes, such as the paper's five of UCF-101; None for a single group.
        title: above the figure.

    Returns:
        `Figure`.
    """
    lines: list[Line] = []
    for group, mean, names in ranked_by_group(ap, groups):
        lines.append((group, mean, True, mean))
        lines += [(name, ap[name], False, mean) for name in names]
    columns = math.ceil(len(lines) / LINES_PER_COLUMN)
    per_column = math.ceil(len(lines) / columns)
    figure = new_figure(max(6, 5 * columns), 0.19 * per_column + 1.4, title)
    for number, panel in enumerate(figure.subplots(1, columns, squeeze=False).flat):
        _draw_bars(panel, lines[number * per_column : (number + 1) * per_column], per_column)
    return figure


def _draw_bars(panel: Axes, lines: Sequence[Line], per_column: int) -> None:
    for y, (name, value, is_group, mean) in enumerate(lines):
        if is_group:
            heading = "no video" if value is None else f"mAP {value:.2f}"
            panel.text(0.01, y, f"{one_line(name, 40)}: {heading}", fontsize=8, fontweight="bold", va="center")
        elif value is None:
            panel.text(0.01, y, "no video", fontsize=7, va="center", style="italic")
        else:
            panel.barh(y, value, color=SKY, edgecolor="black", linewidth=0.4, height=0.75)
            panel.text(0.01, y, f"{value:.2f}", fontsize=7, va="center")
        if not is_group and mean is not None:
            panel.plot([mean, mean], [y - 0.5, y + 0.5], color="black", linestyle="--", linewidth=1)
    names = ["" if is_group else one_line(name) for name, _, is_group, _ in lines]
    panel.set_yticks(range(len(lines)), names, fontsize=7)
    panel.tick_params(axis="y", length=0)
    panel.set(xlim=(0, 1), ylim=(per_column - 0.4, -0.6))
    panel.set_xticks([0, 0.25, 0.5, 0.75, 1])
    panel.tick_params(axis="x", labelsize=8)
    panel.set_xlabel("Average precision (dashed: mean of the group)", fontsize=8)
    panel.spines[["top", "right"]].set_visible(False)
