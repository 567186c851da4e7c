"""Which frames and regions of a clip a model's answer depends on, by hiding them one after the other."""

from dataclasses import dataclass

import numpy as np

from deepvideo_tf.config import check_int

HIDDEN_VALUE = 117  # section 3.3: the constant that the models subtract, so that hidden pixels are 0 to them
_BATCH = 16


@dataclass(frozen=True, eq=False)
class Saliency:
    """How much a model's answer depends on each frame and region of a clip.

    Args:
        probability: of the class in question, for the clip as it is.
        by_region: float32 `[time, grid, grid]`, what this probability falls by when the region is hidden in that frame
            alone; below 0 where it rises.
        by_frame: float32 `[time]`, the same when all of the frame is hidden.
    """

    probability: float
    by_region: np.ndarray
    by_frame: np.ndarray


def occlusion_saliency(answer, clip, target, *, grid=6):
    """Hides each region of each frame, one at a time, and looks what becomes of a class's probability.

    Occlusion, and not a gradient, because it needs nothing but the model's answers: it is the same for a run, a
    SavedModel, a TFLite file and any Keras backend, and its numbers are differences of probabilities, not slopes. It
    costs `1 + time * (grid * grid + 1)` clips.

    Args:
        answer: from uint8 `[batch, time, height, width, 3]` to probabilities `[batch, class]`, as
            `Predictor.probabilities`.
        clip: uint8 `[time, height, width, 3]`.
        target: number of the class in question, as the predicted one.
        grid: regions along each side.

    Returns:
        `Saliency`.

    Raises:
        ConfigError: `grid` is no whole number from 1 to the clip's height or width.
    """
    clip = np.asarray(clip)
    num_frames, height, width, _ = clip.shape
    check_int("grid", grid, 1, min(height, width))
    places = [(frame, None) for frame in range(num_frames)]
    places += [(frame, region) for frame in range(num_frames) for region in np.ndindex(grid, grid)]
    found = _probabilities(answer, clip[None], target)[0]
    falls = []
    for start in range(0, len(places), _BATCH):
        hidden = np.stack([_hide(clip, *place, grid) for place in places[start : start + _BATCH]])
        falls.append(found - _probabilities(answer, hidden, target))
    falls = np.concatenate(falls).astype(np.float32)
    return Saliency(float(found), falls[num_frames:].reshape(num_frames, grid, grid), falls[:num_frames])


def _probabilities(answer, clips, target):
    return np.asarray(answer(clips), np.float64)[:, target]


def _hide(clip, frame, region, grid):
    """A copy of the clip in which a region of a frame, or with None all of it, is hidden."""
    clip = clip.copy()
    rows = columns = slice(None)
    if region is not None:
        rows, columns = (
            slice(-(-part * side // grid), -(-(part + 1) * side // grid))  # as `plots.overlay` shares out the pixels
            for part, side in zip(region, clip.shape[1:3], strict=True)
        )
    clip[frame, rows, columns] = HIDDEN_VALUE
    return clip
