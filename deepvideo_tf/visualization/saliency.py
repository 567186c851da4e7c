"""Which frames and regions of a clip a prediction depends on, by hiding them one at a time."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from deepvideo_tf.config import check_int

HIDDEN_VALUE = 117  # section 3.3: the constant that the models subtract, so that hidden pixels are 0 to them
_BATCH = 16

Probabilities = Callable[[np.ndarray], np.ndarray]
Place = tuple[int, tuple[int, ...] | None]  # a frame, and its region; None for all of it


@dataclass(frozen=True, eq=False)
class Saliency:
    """How much a prediction depends on each frame and region of a clip.

    Args:
        probability: of the class in question, for the unchanged clip.
        by_region: float32 `[time, grid, grid]`, the fall of this probability if the region is hidden in that frame
            only; below 0 if it rises.
        by_frame: float32 `[time]`, the same if the whole frame is hidden.
    """

    probability: float
    by_region: np.ndarray
    by_frame: np.ndarray


def occlusion_saliency(answer: Probabilities, clip: np.ndarray, target: int, *, grid: int = 6) -> Saliency:
    """Hide each region of each frame, one at a time, and measure the change of a class's probability.

    Occlusion, not a gradient, because it needs only the model's outputs: it is the same for a run, a SavedModel, a
    TFLite file and any Keras backend, and its numbers are differences of probabilities, not slopes. It costs
    `1 + time * (grid * grid + 1)` clips.

    Args:
        answer: from uint8 `[batch, time, height, width, 3]` to probabilities `[batch, class]`, as
            `Predictor.probabilities`.
        clip: uint8 `[time, height, width, 3]`.
        target: index of the class in question, such as the predicted one.
        grid: regions along each side.

    Returns:
        `Saliency`.

    Raises:
        ConfigError: `grid` is not an integer from 1 to the clip's height or width.
    """
    clip = np.asarray(clip)
    num_frames, height, width, _ = clip.shape
    check_int("grid", grid, 1, min(height, width))
    places: list[Place] = [(frame, None) for frame in range(num_frames)]
    places += [(frame, region) for frame in range(num_frames) for region in np.ndindex(grid, grid)]
    found = _probabilities(answer, clip[None], target)[0]
    falls = []
    for start in range(0, len(places), _BATCH):
        hidden = np.stack([_hide(clip, *place, grid) for place in places[start : start + _BATCH]])
        falls.append(found - _probabilities(answer, hidden, target))
    by_place = np.concatenate(falls).astype(np.float32)
    return Saliency(float(found), by_place[num_frames:].reshape(num_frames, grid, grid), by_place[:num_frames])


def _probabilities(answer: Probabilities, clips: np.ndarray, target: int) -> np.ndarray:
    return np.asarray(answer(clips), np.float64)[:, target]


def _hide(clip: np.ndarray, frame: int, region: tuple[int, ...] | None, grid: int) -> np.ndarray:
    """Return a copy of the clip with a region of a frame, or the whole frame, hidden."""
    clip = clip.copy()
    rows = columns = slice(None)
    if region is not None:
        rows, columns = (
            slice(-(-index * side // grid), -(-(index + 1) * side // grid))  # as `plots.overlay` divides the pixels
            for index, side in zip(region, clip.shape[1:3], strict=True)
        )
    clip[frame, rows, columns] = HIDDEN_VALUE
    return clip
