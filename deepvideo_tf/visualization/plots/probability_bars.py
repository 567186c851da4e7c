"""Predictions of videos (Figure 4)."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from deepvideo_tf.visualization.plots.figure import ORANGE, SKY, new_figure, one_line

TRUE_HATCH = "////"

Ranked = list[tuple[int, int, float, bool]]


def predictions(
    frames: np.ndarray,
    probabilities: np.ndarray,
    labels: Sequence[Sequence[int]],
    classes: Sequence[str],
    *,
    names: Sequence[str] | None = None,
    top: int = 5,
    title: str | None = None,
) -> Figure:
    """Draw frames with their most probable classes as bars, the true ones hatched and marked (Figure 4).

    Args:
        frames: uint8 `[example, height, width, 3]`.
        probabilities: `[example, class]`.
        labels: for each example, the indices of the true classes.
        classes: class names.
        names: names of the examples; None for none.
        top: number of bars for each example.
        title: above the figure.

    Returns:
        `Figure`.
    """
    count = len(frames)
    columns = min(4, count)
    rows = math.ceil(count / columns)
    ranked = [ranked_classes(*example, top) for example in zip(probabilities, labels, strict=True)]
    lines = max(map(len, ranked))
    figure = new_figure(2.9 * columns, rows * (2.9 + 0.27 * lines) + 0.5, title)
    grid = figure.add_gridspec(2 * rows, columns, height_ratios=[2.3, 0.27 * lines] * rows)
    for number in range(count):
        row, column = divmod(number, columns)
        picture = figure.add_subplot(grid[2 * row, column])
        picture.imshow(frames[number])
        picture.set_axis_off()
        is_right = int(np.argmax(probabilities[number])) in labels[number]
        name = "" if names is None else f"\n{one_line(names[number], 34)}"
        picture.set_title(f"{'✓ right' if is_right else '✗ wrong'}{name}", fontsize=9)
        bars = figure.add_subplot(grid[2 * row + 1, column])
        _draw_bars(bars, ranked[number], classes, lines)
    return figure


def ranked_classes(probabilities: np.ndarray | Sequence[float], labels: Sequence[int], top: int) -> Ranked:
    """Return the most probable classes, and the most probable true one if it is not among them.

    Args:
        probabilities: `[class]`.
        labels: indices of the true classes.
        top: how many.

    Returns:
        List of (rank from 1, index of the class, probability, whether it is true), the most probable first.
    """
    order = np.argsort(-np.asarray(probabilities), kind="stable").tolist()
    ranks = list(range(min(top, len(order))))
    best_true = min((order.index(label) for label in labels), default=0)
    if best_true >= len(ranks):
        ranks.append(best_true)
    return [(rank + 1, order[rank], float(probabilities[order[rank]]), order[rank] in labels) for rank in ranks]


def _draw_bars(panel: Axes, ranked: Ranked, classes: Sequence[str], lines: int) -> None:
    for line, (rank, label, probability, is_true) in enumerate(ranked):
        panel.barh(
            line + 0.72,
            probability,
            height=0.36,
            color=ORANGE if is_true else SKY,
            hatch=TRUE_HATCH if is_true else None,
            edgecolor="black",
            linewidth=0.6,
        )
        position = f", rank {rank}" if rank != line + 1 else ""
        text = f"{one_line(classes[label])} {probability:.2f}{f' (true{position})' if is_true else ''}"
        panel.text(0, line + 0.5, text, fontsize=8, va="bottom", fontweight="bold" if is_true else "normal")
    panel.set(xlim=(0, 1), ylim=(lines + 0.1, 0))
    panel.set_yticks([])
    panel.set_xticks([0, 0.5, 1])
    panel.tick_params(labelsize=7)
    panel.set_xlabel("Probability", fontsize=7)
    panel.spines[["top", "right"]].set_visible(False)
