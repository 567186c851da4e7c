"""Training curves."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from deepvideo_tf.visualization.plots.figure import BLUE, ORANGE, new_figure, one_line

CURVES = {"loss": "Loss", "hit_at_1": "Clip Hit@1", "learning_rate": "Learning rate"}


def curves(history: Mapping[str, Sequence[float]], *, title: str | None = None) -> Figure:
    """Draw the loss, the metrics and the learning rate by epoch, each for training and validation in one panel.

    Args:
        history: from the name to one number per epoch, as `read_history` and Keras's `model.fit(...).history` return
            it; `val_<name>` is the same for validation.
        title: above the figure.

    Returns:
        `Figure`.
    """
    names = [name for name in history if name != "epoch" and not name.startswith("val_")]
    names.sort(key=lambda name: name == "learning_rate")
    columns = min(3, len(names))
    rows = math.ceil(len(names) / columns)
    figure = new_figure(4.2 * columns, 3.2 * rows + 0.5, title)
    panels = figure.subplots(rows, columns, squeeze=False).flat
    for panel in panels[len(names) :]:
        panel.set_axis_off()
    for panel, name in zip(panels, names, strict=False):
        epochs = np.asarray(history.get("epoch", range(len(history[name])))) + 1
        mark = "o" if len(epochs) <= 40 else None
        panel.plot(epochs, history[name], color=BLUE, marker=mark, markersize=4, label="training, as it went")
        if f"val_{name}" in history:
            mark = mark and "s"
            values = history[f"val_{name}"]
            panel.plot(epochs, values, color=ORANGE, linestyle="--", marker=mark, markersize=4, label="validation")
        panel.set(xlabel="Epoch", title=CURVES.get(name, one_line(name)))
        panel.xaxis.get_major_locator().set_params(integer=True)
        panel.grid(alpha=0.3)
        if name == "learning_rate":
            panel.set_yscale("log")
        if f"val_{name}" in history:
            panel.legend(fontsize=8)
        if name.startswith("hit_at_"):
            panel.set_ylim(-0.02, 1.02)
    return figure
