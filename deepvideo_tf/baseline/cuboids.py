"""Features of motion: gradients around places where something moves in space and time."""

from collections.abc import Iterator

import cv2
import numpy as np

from deepvideo_tf.baseline.places import CELLS_PER_SIDE, DIFFERENCES, LocalFeatures, clipped_unit, on_channels

CUBOIDS = 200  # of a clip, at most
CUBOID_DIMS = 6 * 9 * 2
CUBOID_SIGMA = 1 / 85  # of the frame's side
CUBOID_TAU_FRAMES = 2.0
CUBOID_FREQUENCY = 0.25  # cycles per frame
CUBOID_LEAST = 4.0  # response, squared gray levels
CUBOID_CELLS = 3  # per side
CUBOID_CELL_FRAMES = 3  # in time a cuboid has two cells, before and after its middle


def cuboids(gray: np.ndarray) -> LocalFeatures:
    """Describe the gradients around places where something moves (Dollar and others, 2005).

    Around each place lie 3 x 3 cells of space and 2 of time. Each has the means of the gradients along x, y and time,
    their positive and negative parts apart. Differs from theirs, which are the single gradients, and principal
    components of them.

    Args:
        gray: uint8 `[time, height, width]`.

    Returns:
        `LocalFeatures`.
    """
    height = gray.shape[1]
    sigma_px = height * CUBOID_SIGMA
    stack = np.moveaxis(gray, 0, -1).astype(np.float32)
    smooth = on_channels(stack, lambda some: cv2.GaussianBlur(some, (0, 0), sigma_px))
    points = strongest_maxima(motion_response(smooth), round(2 * sigma_px))
    positions = ((points + 0.5) / gray.shape).astype(np.float32)
    if not len(points):
        return LocalFeatures(np.zeros((0, CUBOID_DIMS), np.float32), positions)
    cell_px = max(2, round(height / CELLS_PER_SIDE[0]))
    means = [on_channels(part, lambda some: cv2.blur(some, (cell_px, cell_px))) for part in _half_gradients(smooth)]
    rows, columns, frames = _cuboid_cells(points, gray.shape, cell_px)
    cells = [part[rows, columns, frames].mean(axis=-1) for part in means]  # [place, y, x, half] each
    return LocalFeatures(clipped_unit(np.stack(cells, axis=-1).reshape(len(points), -1)), positions)


def _half_gradients(smooth: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the positive and negative parts of the gradients along x, y and time, each like `smooth`."""

    def along(kernel: np.ndarray) -> np.ndarray:
        return on_channels(smooth, lambda some: cv2.filter2D(some, -1, kernel, borderType=cv2.BORDER_REPLICATE))

    gradients = [along(kernel) for kernel in DIFFERENCES]
    gradients.append(np.gradient(smooth, axis=2) if smooth.shape[2] > 1 else np.zeros_like(smooth))
    for gradient in gradients:
        yield np.maximum(gradient, 0)
        yield np.maximum(-gradient, 0)


def _cuboid_cells(
    points: np.ndarray, shape: tuple[int, ...], cell_px: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the indices of the cells' centers and frames; they broadcast to `[place, y, x, half, frame of it]`."""
    num_frames, height, width = shape
    steps = (np.arange(CUBOID_CELLS) - CUBOID_CELLS // 2) * cell_px
    halves = np.arange(2 * CUBOID_CELL_FRAMES).reshape(2, CUBOID_CELL_FRAMES) - CUBOID_CELL_FRAMES
    rows = (points[:, 1, None] + steps).clip(0, height - 1)[:, :, None, None, None]
    columns = (points[:, 2, None] + steps).clip(0, width - 1)[:, None, :, None, None]
    frames = (points[:, 0, None, None] + halves).clip(0, num_frames - 1)[:, None, None]
    return rows, columns, frames


def temporal_filters(num_frames: int) -> np.ndarray:
    """Build a quadrature pair of Gabor filters in time, for all frames at once (Dollar and others, 2005).

    Differs from theirs: the frequency is `CUBOID_FREQUENCY` instead of 4 / tau, which lies above what frames can show;
    and the even one outputs 0 where nothing changes. Before the first and after the last frame, nothing does.

    Args:
        num_frames: frames of the clip.

    Returns:
        float32 `[2, output, frame]`: the even and the odd one.
    """
    reach = int(3 * CUBOID_TAU_FRAMES)
    t = np.arange(-reach, reach + 1)
    envelope = np.exp(-(t**2) / CUBOID_TAU_FRAMES**2)
    even = np.cos(2 * np.pi * CUBOID_FREQUENCY * t) * envelope
    even -= envelope * even.sum() / envelope.sum()
    odd = np.sin(2 * np.pi * CUBOID_FREQUENCY * t) * envelope
    filters = np.zeros((2, num_frames, num_frames))
    for answer in range(num_frames):
        frames = (answer + t).clip(0, num_frames - 1)
        for number, taps in enumerate((even, odd)):
            np.add.at(filters[number, answer], frames, taps)
    return filters.astype(np.float32)


def motion_response(smooth: np.ndarray) -> np.ndarray:
    """Measure how much each pixel flickers or is passed by an edge: the energy of the quadrature pair.

    Args:
        smooth: float32 `[height, width, time]`, gray levels after a Gaussian.

    Returns:
        float32 `[height, width, time]`, squared gray levels.
    """
    even, odd = temporal_filters(smooth.shape[2])
    return np.square(smooth @ even.T) + np.square(smooth @ odd.T)


def strongest_maxima(response: np.ndarray, apart_px: int) -> np.ndarray:
    """Find the strongest local maxima of a response in space and time, `CUBOIDS` at most.

    Args:
        response: float32 `[height, width, time]`.
        apart_px: how far around in space there is no larger value; in time it is a frame.

    Returns:
        int64 `[place, 3]`: frame, y and x, the strongest first.
    """
    side = 2 * max(1, apart_px) + 1
    largest = on_channels(response, lambda some: cv2.dilate(some, np.ones((side, side), np.uint8)))
    around = largest.copy()
    around[..., 1:] = np.maximum(around[..., 1:], largest[..., :-1])
    around[..., :-1] = np.maximum(around[..., :-1], largest[..., 1:])
    rows, columns, frames = np.nonzero((response == around) & (response > CUBOID_LEAST))
    order = np.argsort(-response[rows, columns, frames], kind="stable")[:CUBOIDS]
    return np.stack([frames, rows, columns], axis=-1)[order]
