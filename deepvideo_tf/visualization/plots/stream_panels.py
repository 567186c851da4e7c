"""What the streams of a two-stream network see (section 3.2)."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from deepvideo_tf.visualization.plots.figure import new_figure


def views(clip: np.ndarray, views: Mapping[str, np.ndarray], *, title: str | None = None) -> Figure:
    """Draw what each stream of a two-stream network sees of a clip (section 3.2).

    Of long clips 5 frames are shown, evenly spaced. The box is the position of the fovea, found by its pixels.

    Args:
        clip: uint8 `[time, height, width, 3]`, the model's input.
        views: from the stream to uint8 `[time, height, width, 3]`, as `deepvideo_tf.stream_views` returns it for a
            clip.
        title: above the figure.

    Returns:
        `Figure`.
    """
    clip = np.asarray(clip)
    shown = np.unique(np.linspace(0, len(clip) - 1, min(len(clip), 5)).round().astype(int))
    streams = {"the clip": clip, **views}
    is_row = len(shown) == 1
    shape = (1, len(streams)) if is_row else (len(streams), len(shown))
    figure = new_figure(max(6, 3 * shape[1]), 3.1 * shape[0] + 0.5, title)
    panels = figure.subplots(*shape, squeeze=False).reshape(len(streams), len(shown))
    for row, (name, frames) in zip(panels, streams.items(), strict=True):
        for panel, number in zip(row, shown, strict=True):
            height, width = frames.shape[1:3]
            panel.imshow(frames[number], interpolation="nearest")
            panel.set_title(
                f"{name}: {width} x {height} px" + (f", frame {number + 1}" if not is_row else ""), fontsize=9
            )
            panel.set_axis_off()
    start = _offset_of(views["fovea"][shown[0]], clip[shown[0]]) if "fovea" in views else None
    if start is not None:
        side = views["fovea"].shape[1]
        for panel in panels[0]:
            for color, style in (("black", "-"), ("white", "--")):  # visible on any frame
                box = Rectangle((start - 0.5, start - 0.5), side, side, fill=False, edgecolor=color, linestyle=style)
                panel.add_patch(box)
    return figure


def _offset_of(crop: np.ndarray, whole: np.ndarray) -> int | None:
    """Return the offset of a square on the diagonal of a larger one, in pixels; None if it is not there."""
    size = len(crop)
    for start in range(len(whole) - size + 1):
        if np.array_equal(whole[start : start + size, start : start + size], crop):
            return start
    return None
