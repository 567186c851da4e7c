"""What the local features of all kinds have in common."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

CELLS_PER_SIDE = (20, 10)  # cells of HOG per side of the frame, for each of its two scales; cuboids have the first
CLIPPED = 0.2  # of a HOG descriptor of length 1, as Dalal and Triggs have it
FLAT = 1.0  # gray levels per pixel: a gradient well below it is no structure
MOST_CHANNELS = 64  # that OpenCV filters at once
DIFFERENCES = (np.array([[-0.5, 0, 0.5]], np.float32), np.array([[-0.5], [0], [0.5]], np.float32))


@dataclass(frozen=True)
class LocalFeatures:
    """Features of one kind at some places of a clip.

    Args:
        descriptors: float32 `[place, dim]`.
        positions: float32 `[place, 3]`: time, y and x as fractions of the clip, in [0, 1).
    """

    descriptors: np.ndarray
    positions: np.ndarray


def joined(parts: Sequence[LocalFeatures]) -> LocalFeatures:
    """Return the features of all parts, in their order."""
    return LocalFeatures(
        *(np.concatenate([getattr(part, name) for part in parts]) for name in ("descriptors", "positions"))
    )


def clipped_unit(rows: np.ndarray) -> np.ndarray:
    """Return rows of length 1, flat ones shorter, with no entry far above `CLIPPED`."""
    rows = np.minimum(rows / np.sqrt(np.square(rows).sum(axis=1, keepdims=True) + FLAT**2), CLIPPED)
    return rows / np.maximum(np.sqrt(np.square(rows).sum(axis=1, keepdims=True)), CLIPPED)


def on_channels(stack: np.ndarray, function: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Filter a stack of pictures, `[height, width, frame]`, as the channels of one: OpenCV takes some hundreds."""
    parts = [
        # OpenCV drops the axis of a single channel.
        function(np.ascontiguousarray(some)).reshape(some.shape)
        for some in (stack[..., start : start + MOST_CHANNELS] for start in range(0, stack.shape[-1], MOST_CHANNELS))
    ]
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=-1)
