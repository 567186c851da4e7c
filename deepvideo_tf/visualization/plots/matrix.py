"""The confusion matrix."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from deepvideo_tf.visualization.plots.figure import new_figure, one_line

MAX_CELL_TEXTS = 30  # classes; counts in the cells of more cannot be read
MAX_TICK_NAMES = 150  # classes; names of more cannot be read


def confusion(counts: np.ndarray, classes: Sequence[str], *, title: str | None = None) -> Figure:
    """Draw the confusion matrix: the fraction of each true class's videos that is predicted as each class.

    Args:
        counts: int `[true class][predicted class]`, videos.
        classes: class names.
        title: above the figure.

    Returns:
        `Figure`. Up to 30 classes the cells show their counts; above 150 the axes have numbers instead of names. A
        class without a video is a row of hatches.
    """
    counts = np.asarray(counts)
    count = len(classes)
    totals = counts.sum(axis=1, keepdims=True)
    fractions = counts / np.maximum(totals, 1)
    side_in = float(np.clip(0.42 * count, 4.5, 10 if count <= MAX_CELL_TEXTS else 15))
    figure = new_figure(side_in + 3, side_in + 1.8, title)
    panel = figure.subplots()
    image = panel.imshow(fractions, cmap="cividis", vmin=0, vmax=1, interpolation="nearest", aspect="auto")
    font = float(np.clip(60 * side_in / count, 5, 9))
    if count <= MAX_TICK_NAMES:
        names = [one_line(name) for name in classes]
        panel.set_xticks(range(count), names, rotation=90, fontsize=font)
        panel.set_yticks(range(count), names, fontsize=font)
    for row in np.flatnonzero(totals == 0):
        panel.add_patch(Rectangle((-0.5, row - 0.5), count, 1, facecolor="white", hatch="xxx", edgecolor="0.6"))
    if count <= MAX_CELL_TEXTS:
        for row, column in zip(*np.nonzero(counts), strict=True):
            color = "black" if fractions[row, column] > 0.5 else "white"
            text = str(counts[row, column])
            panel.text(column, row, text, ha="center", va="center", color=color, fontsize=font)
    panel.set_xlabel("Predicted class")
    panel.set_ylabel("True class")
    figure.colorbar(image, ax=panel, fraction=0.04, label="Part of the true class's videos")
    return figure
