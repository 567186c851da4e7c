"""Frames and regions that a prediction depends on."""

import math
import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure, SubFigure

from deepvideo_tf.visualization.plots.figure import SKY, new_figure, one_line
from deepvideo_tf.visualization.saliency import Saliency

SHOWN_FRAMES = 10


def saliency(
    clips: Sequence[np.ndarray] | np.ndarray,
    saliencies: Sequence[Saliency],
    *,
    captions: Sequence[str] | None = None,
    title: str | None = None,
) -> Figure:
    """Draw which frames and regions a prediction depends on: the lighter a region, the more it matters.

    Below each frame, the bar is the fall of the probability when the whole frame is hidden. Of long clips 10 frames are
    shown, evenly spaced.

    Args:
        clips: uint8 `[clip, time, height, width, 3]`.
        saliencies: a `Saliency` for each, from `deepvideo_tf.occlusion_saliency`.
        captions: a text for each clip; None for none.
        title: above the figure.

    Returns:
        `Figure`.
    """
    num_frames = len(clips[0])
    shown = np.unique(np.linspace(0, num_frames - 1, min(num_frames, SHOWN_FRAMES)).round().astype(int))
    columns = len(clips) if len(shown) <= 2 else 1
    rows = math.ceil(len(clips) / columns)
    side_in = 2.1 if len(shown) <= 2 else 1.5
    block_in = side_in * len(shown) + 0.9
    figure = new_figure(max(6, columns * block_in), rows * (2 * side_in + 1.9) + 0.4, title)
    blocks = figure.subfigures(rows, columns, squeeze=False).flat
    for number, (block, clip, found) in enumerate(zip(blocks, clips, saliencies, strict=True)):
        if captions is not None:
            text = textwrap.fill(one_line(captions[number], None), int(12 * block_in), break_on_hyphens=False)
            block.suptitle(text, fontsize=9)
        _draw_clip(block, np.asarray(clip), found, shown)
    return figure


def _draw_clip(block: SubFigure, clip: np.ndarray, found: Saliency, shown: np.ndarray) -> None:
    originals, overlays, bars = block.subplots(3, len(shown), squeeze=False, height_ratios=[1.6, 1.6, 0.9])
    most = max(float(found.by_region.max()), 1e-9)
    ends = min(0.0, float(found.by_frame.min())), max(float(found.by_frame.max()), 1e-9)
    for column, frame in enumerate(shown):
        originals[column].imshow(clip[frame])
        originals[column].set_title(f"frame {frame + 1}", fontsize=8)
        overlays[column].imshow(overlay(clip[frame], found.by_region[frame] / most))
        bars[column].bar([0], [found.by_frame[frame]], width=0.5, color=SKY, edgecolor="black", linewidth=0.6)
        bars[column].axhline(0, color="black", linewidth=0.6)
        bars[column].set(xlim=(-0.5, 0.5), ylim=(1.1 * ends[0], 1.25 * ends[1]), xticks=[])
        bars[column].set_xlabel(f"{found.by_frame[frame]:+.3g}", fontsize=7)
        bars[column].tick_params(labelsize=7, labelleft=column == 0)
        for panel in (originals[column], overlays[column]):
            panel.set_xticks([])
            panel.set_yticks([])
    overlays[0].set_ylabel(f"region hidden:\nprobability lower by\n0 (dark) to {most:.3g} (light)", fontsize=7)
    bars[0].set_ylabel("frame hidden:\nprobability\nlower by", fontsize=7)


def overlay(frame: np.ndarray, strength: np.ndarray) -> np.ndarray:
    """Lay the strength of regions over a gray frame, in colors whose brightness grows with it.

    Args:
        frame: uint8 `[height, width, 3]`.
        strength: float `[row, column]` of regions, clipped to [0, 1].

    Returns:
        Float `[height, width, 3]`, in [0, 1].
    """
    height, width, _ = frame.shape
    rows, columns = strength.shape
    full = strength[np.arange(height) * rows // height][:, np.arange(width) * columns // width]
    gray = frame.mean(axis=-1, keepdims=True) / 255
    return 0.4 * gray + 0.6 * colormaps["cividis"](np.clip(full, 0, 1))[..., :3]
