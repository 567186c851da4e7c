"""Features of the appearance in single frames: HOG at a grid and at corners, and textons."""

from collections.abc import Sequence

import cv2
import numpy as np

from deepvideo_tf.baseline.places import (
    CELLS_PER_SIDE,
    DIFFERENCES,
    LocalFeatures,
    clipped_unit,
    joined,
    on_channels,
)

FRAME_STEP = 4  # appearance is looked at in one of so many frames
GRID = 20  # places per side at which dense features are taken
ORIENTATIONS = 9
CORNERS = 100  # interest points of a frame, at most
CORNER_QUALITY = 0.01  # of the strongest corner
TEXTON_SIGMAS_PX = (1.0, 2.0, 4.0)


def appearance_frames(num_frames: int) -> list[int]:
    """Return the frames in which appearance is looked at: the middles of parts of about `FRAME_STEP` frames."""
    parts = -(-num_frames // FRAME_STEP)
    return [int((part + 0.5) * num_frames / parts) for part in range(parts)]


def hogs(gray: np.ndarray, chosen: Sequence[int]) -> tuple[LocalFeatures, LocalFeatures]:
    """Compute HOG at the places of a grid in two scales, and at corners.

    Args:
        gray: uint8 `[time, height, width]`.
        chosen: numbers of the frames to look at.

    Returns:
        `LocalFeatures` of the grid, and of the corners.
    """
    dense, sparse = [], []
    _, height, width = gray.shape
    grid = _grid(height, width)
    for number in chosen:
        time = (number + 0.5) / len(gray)
        channels = orientation_channels(gray[number])
        for cells in CELLS_PER_SIDE:
            dense.append(_at(hog_at(channels, grid, max(2, round(height / cells))), grid, time, height, width))
        points = corners(gray[number])
        cell_px = max(2, round(height / CELLS_PER_SIDE[0]))
        sparse.append(_at(hog_at(channels, points, cell_px), points, time, height, width))
    return joined(dense), joined(sparse)


def _grid(height: int, width: int) -> np.ndarray:
    """Return the places of dense features, int `[place, 2]` of y and x in pixels."""
    rows, columns = ((np.arange(GRID) + 0.5) * size / GRID for size in (height, width))
    return np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1).reshape(-1, 2).astype(np.int64)


def _at(descriptors: np.ndarray, points: np.ndarray, time: float, height: int, width: int) -> LocalFeatures:
    positions = np.empty((len(points), 3), np.float32)
    positions[:, 0] = time
    positions[:, 1:] = (points + 0.5) / (height, width)
    return LocalFeatures(descriptors, positions)


def orientation_channels(gray: np.ndarray) -> np.ndarray:
    """Divide the gradient of each pixel between the two orientations next to its own (Dalal and Triggs, 2005).

    Args:
        gray: uint8 `[height, width]`.

    Returns:
        float32 `[height, width, ORIENTATIONS]`: channel k is of gradients at 180 k / `ORIENTATIONS` degrees from the
        x axis, whatever their sign.
    """
    image = gray.astype(np.float32)
    along_x, along_y = (cv2.filter2D(image, -1, kernel, borderType=cv2.BORDER_REPLICATE) for kernel in DIFFERENCES)
    magnitude, angle = cv2.cartToPolar(along_x, along_y, angleInDegrees=True)
    place = (angle * (ORIENTATIONS / 180.0)) % ORIENTATIONS
    lower = np.floor(place)
    part = place - lower
    lower = lower.astype(np.int64) % ORIENTATIONS
    channels = np.zeros((*gray.shape, ORIENTATIONS), np.float32)
    rows, columns = np.ogrid[: gray.shape[0], : gray.shape[1]]
    channels[rows, columns, lower] = magnitude * (1 - part)
    channels[rows, columns, (lower + 1) % ORIENTATIONS] += magnitude * part
    return channels


def hog_at(channels: np.ndarray, points: np.ndarray, cell_px: int) -> np.ndarray:
    """Compute histograms of oriented gradients of 2 x 2 cells around some places (Dalal and Triggs, 2005).

    Args:
        channels: what `orientation_channels` gives.
        points: int `[place, 2]`, y and x.
        cell_px: side of a cell.

    Returns:
        float32 `[place, 4 * ORIENTATIONS]`, of length 1 with no entry far above `CLIPPED`, or near 0 where the picture
        is flat.
    """
    height, width, _ = channels.shape
    means = cv2.blur(channels, (cell_px, cell_px), borderType=cv2.BORDER_REPLICATE)
    offsets = np.array([[-1, -1], [-1, 1], [1, -1], [1, 1]]) * (cell_px / 2)
    centers = np.floor(points[:, None] + offsets + 0.5).astype(np.int64)
    cells = means[centers[..., 0].clip(0, height - 1), centers[..., 1].clip(0, width - 1)]
    return clipped_unit(cells.reshape(len(points), 4 * ORIENTATIONS))


def corners(gray: np.ndarray) -> np.ndarray:
    """Find the strongest corners of a picture (Shi and Tomasi, 1994), `CORNERS` at most.

    Args:
        gray: uint8 `[height, width]`.

    Returns:
        int64 `[place, 2]`, y and x.
    """
    apart_px = max(2, gray.shape[0] / 40)
    found = cv2.goodFeaturesToTrack(gray, CORNERS, CORNER_QUALITY, apart_px)
    if found is None:
        return np.zeros((0, 2), np.int64)
    return found.reshape(-1, 2)[:, ::-1].astype(np.int64)


def textons(gray: np.ndarray, chosen: Sequence[int]) -> LocalFeatures:
    """Compute responses to a bank of filters at the places of a grid.

    The bank is the eight largest responses over all orientations of Varma and Zisserman (2005), MR8: edges and bars at
    three scales, a Gaussian and a Laplacian. Differs from theirs: edges and bars are derivatives of round Gaussians,
    not of long ones; these can be steered, so that the largest response over all orientations is known in closed form.

    Args:
        gray: uint8 `[time, height, width]`.
        chosen: numbers of the frames to look at.

    Returns:
        `LocalFeatures`.
    """
    _, height, width = gray.shape
    grid = _grid(height, width)
    stack = np.moveaxis(gray[chosen], 0, -1).astype(np.float32) / 255
    responses = filter_responses(stack)[grid[:, 0], grid[:, 1]]  # [place, frame, filter]
    parts = [
        _at(responses[:, index], grid, (number + 0.5) / len(gray), height, width) for index, number in enumerate(chosen)
    ]
    found = joined(parts)
    return LocalFeatures(_webers_law(found.descriptors), found.positions)


def filter_responses(stack: np.ndarray) -> np.ndarray:
    """Apply the bank of `textons` at each pixel.

    Args:
        stack: float32 `[height, width, frame]`, gray levels from 0 to 1.

    Returns:
        float32 `[height, width, frame, 8]`: for each scale the largest response over all orientations to an edge, and
        that to a bar (the one of larger magnitude); the largest scale's Gaussian, as a difference from the mean of the
        frame, and Laplacian. Derivatives are times sigma to their order, so that scales compare.
    """
    found = []
    for sigma_px in TEXTON_SIGMAS_PX:
        smooth, first, second = (
            kernel * sigma_px**order for order, kernel in enumerate(_gaussian_derivatives(sigma_px))
        )
        along_x, along_y = _filtered(stack, first, smooth), _filtered(stack, smooth, first)
        found.append(np.hypot(along_x, along_y))
        xx, yy, xy = _filtered(stack, second, smooth), _filtered(stack, smooth, second), _filtered(stack, first, first)
        middle, spread = (xx + yy) / 2, np.hypot((xx - yy) / 2, xy)
        found.append(np.where(middle >= 0, middle + spread, middle - spread))
    blurred = _filtered(stack, smooth, smooth)
    return np.stack([*found, blurred - stack.mean(axis=(0, 1)), xx + yy], axis=-1)


def _gaussian_derivatives(sigma_px: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return a Gaussian and its first two derivatives, sampled; float64 `[taps]` each.

    They are scaled to be exact where it counts: 1, x and x^2 / 2 give 1, and the second gives 0 for a constant.
    """
    x = np.arange(-int(4 * sigma_px), int(4 * sigma_px) + 1)
    smooth = np.exp(-(x**2) / (2 * sigma_px**2))
    smooth /= smooth.sum()
    first = x * smooth / (x**2 * smooth).sum()
    second = (x**2 / sigma_px**2 - 1) * smooth
    second -= smooth * second.sum()
    return smooth, first, second * 2 / (x**2 * second).sum()


def _filtered(stack: np.ndarray, along_x: np.ndarray, along_y: np.ndarray) -> np.ndarray:
    border = cv2.BORDER_REFLECT_101
    return on_channels(stack, lambda some: cv2.sepFilter2D(some, -1, along_x, along_y, borderType=border))


def _webers_law(responses: np.ndarray) -> np.ndarray:
    """Compress long responses (Varma and Zisserman, 2005)."""
    length = np.maximum(np.sqrt(np.square(responses).sum(axis=-1, keepdims=True)), 1e-6)
    return responses * (np.log1p(length / 0.03) / length)
