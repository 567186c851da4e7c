"""First-layer filters (Figure 3)."""

import math
from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from deepvideo_tf.visualization.plots.figure import BLUE, ORANGE, new_figure

RANDOM_COLOURFULNESS = 2 / 3
SHOWN_FILTERS = 96  # of a stream: all of them at the paper's width


def colourfulness(filters: np.ndarray) -> np.ndarray:
    """Compute how colorful each filter is: the fraction of its energy that a gray picture cannot excite.

    A filter is the sum of a gray component, the mean of its three colors at every pixel, and a remainder; the energy is
    the sum of squares. 0 is a filter that is the same for red, green and blue; 1 is a pure hue such as red minus green,
    which a gray picture cannot excite. A filter of red only has 2/3, as random ones have on average: values above mean
    that color was learned, values below that gray was (Figure 3).

    Args:
        filters: float `[filter, time, height, width, 3]`.

    Returns:
        float64 `[filter]`, in [0, 1]; NaN for a filter of zeros.
    """
    filters = np.asarray(filters, np.float64)
    hue = filters - filters.mean(axis=-1, keepdims=True)
    axes = tuple(range(1, filters.ndim))
    with np.errstate(invalid="ignore"):
        return (hue**2).sum(axis=axes) / (filters**2).sum(axis=axes)


def filters(filters: Mapping[str, np.ndarray], *, title: str | None = None) -> Figure:
    """Draw the first-layer filters of each stream, from the most colorful to the grayest (Figure 3).

    Each filter is scaled by itself: gray is 0, its largest weight is full black or white. A filter over several frames
    is a strip of them, the earliest at the left.

    Args:
        filters: from the stream's name to float `[filter, time, height, width, 3]`, as
            `deepvideo_tf.first_layer_filters` returns it.
        title: above the figure.

    Returns:
        `Figure`. The names of the streams show the mean `colourfulness` of all their filters; at most 96 are shown.
    """
    mosaics, ranked = {}, {}
    for name, of_stream in filters.items():
        values = colourfulness(of_stream)
        order = np.argsort(-np.nan_to_num(values, nan=-1), kind="stable")
        ranked[name] = values[order]
        shown = order[np.linspace(0, len(order) - 1, min(len(order), SHOWN_FILTERS)).round().astype(int)]
        mosaics[name] = _mosaic(np.asarray(of_stream)[shown])
    is_side_by_side = all(mosaic.shape[1] < 2 * mosaic.shape[0] for mosaic in mosaics.values())
    count = len(mosaics)
    rows, columns = (1, count) if is_side_by_side else (count, 1)
    side_in = 5 if is_side_by_side else 9
    shape = next(iter(mosaics.values())).shape
    height_in = side_in * shape[0] / shape[1] + 0.5
    figure = new_figure(max(6, side_in * columns), height_in * rows + 2.6, title)
    above, below = figure.subfigures(2, 1, squeeze=False, height_ratios=[height_in * rows, 2.2]).flat
    panels = above.subplots(rows, columns, squeeze=False).flat
    for panel, (name, mosaic) in zip(panels, mosaics.items(), strict=True):
        panel.imshow(mosaic, interpolation="nearest")
        panel.set_axis_off()
        panel.set_title(
            f"{name}: colourfulness {np.nanmean(ranked[name]):.2f}, {_how_many(filters[name])}", fontsize=10
        )
    _draw_ranks(below.subplots(), ranked)
    return figure


def _how_many(filters: np.ndarray) -> str:
    count, time, height, width, _ = np.shape(filters)
    frames = f", {time} frames" if time > 1 else ""
    shown = f" ({SHOWN_FILTERS} of them shown)" if count > SHOWN_FILTERS else ""
    return f"{count} filters of {height} x {width} px{frames}{shown}"


def _mosaic(filters: np.ndarray) -> np.ndarray:
    """Return the filters in rows, separated by white: `[height, width, 3]`, in [0, 1]."""
    count, time, height, width, _ = filters.shape
    most = np.abs(filters).max(axis=(1, 2, 3, 4), keepdims=True)
    tiles = 0.5 + filters / np.where(most > 0, 2 * most, 1)
    strips = tiles.transpose(0, 2, 1, 3, 4).reshape(count, height, time * width, 3)
    strips = np.pad(strips, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=1)
    columns = max(1, min(count, round(math.sqrt(1.5 * count / time))))
    rows = math.ceil(count / columns)
    strips = np.concatenate([strips, np.ones((rows * columns - count, *strips.shape[1:]))])
    grid = strips.reshape(rows, columns, *strips.shape[1:])
    return grid.transpose(0, 2, 1, 3, 4).reshape(rows * grid.shape[2], columns * grid.shape[3], 3)


def _draw_ranks(panel: Axes, ranked: Mapping[str, np.ndarray]) -> None:
    styles = [(ORANGE, "-", "o"), (BLUE, "--", "s")]
    for (name, values), (color, line, mark) in zip(ranked.items(), styles, strict=False):
        percent = 100 * (np.arange(len(values)) + 0.5) / len(values)
        panel.plot(percent, values, color=color, linestyle=line, marker=mark, markersize=3, label=name)
    panel.axhline(RANDOM_COLOURFULNESS, color="0.4", linestyle=":", linewidth=1, label="random filters, on average")
    panel.set(xlim=(0, 100), ylim=(0, 1.02), xlabel="Filters, from the most colourful to the greyest (%)")
    panel.set_ylabel("Colourfulness\n(part of the energy\nthat is no grey)")
    panel.legend(fontsize=8)
