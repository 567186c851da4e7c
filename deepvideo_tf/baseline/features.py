"""Hand-made local features of a clip: HOG, textons, spatio-temporal cuboids, hue and saturation, colour moments.

Appearance is looked at in some frames of a clip, motion in all of them. Places and cells are parts of the frame's size,
so that a clip stored in more pixels has similar features; the filters of textons and corners have sizes in pixels.
Everything here is a function of the pixels alone.
"""

from dataclasses import dataclass

import cv2
import numpy as np

FEATURES_VERSION = 1  # of what this module computes: caches of another one are not used

FRAME_STEP = 4  # appearance is looked at in one of so many frames
GRID = 20  # places a side at which dense features are taken
CELLS_PER_SIDE = (20, 10)  # cells of HOG a side of the frame, for each of its two scales
ORIENTATIONS = 9
CLIPPED = 0.2  # of a HOG descriptor of length 1, as Dalal and Triggs have it
FLAT = 1.0  # grey levels a pixel: a gradient well below it is no structure
CORNERS = 100  # interest points of a frame, at most
CORNER_QUALITY = 0.01  # of the strongest corner
TEXTON_SIGMAS_PX = (1.0, 2.0, 4.0)
CUBOIDS = 200  # of a clip, at most
CUBOID_SIGMA = 1 / 85  # of the frame's side
CUBOID_TAU_FRAMES = 2.0
CUBOID_FREQUENCY = 0.25  # cycles a frame
CUBOID_LEAST = 4.0  # response, squared grey levels
CUBOID_CELLS = 3  # a side
CUBOID_CELL_FRAMES = 3  # in time a cuboid has two cells, before and after its middle
HUES, SATURATIONS = 16, 8
HUE_RANGE, SATURATION_RANGE = 180, 256  # of OpenCV's 8 bit HSV
MOMENTS = 9
MOST_CHANNELS = 64  # that OpenCV filters at once

KIND_DIMS = {"dense_hog": 4 * ORIENTATIONS, "sparse_hog": 4 * ORIENTATIONS, "textons": 8, "cuboids": 6 * 9 * 2}
KINDS = tuple(KIND_DIMS)


@dataclass(frozen=True)
class LocalFeatures:
    """Features of one kind at some places of a clip.

    Args:
        descriptors: float32 `[place, dim]`.
        positions: float32 `[place, 3]`: time, y and x as parts of the clip, at least 0 and below 1.
    """

    descriptors: np.ndarray
    positions: np.ndarray


def local_features(clip):
    """All kinds of local features of a clip.

    Args:
        clip: uint8 `[time, height, width, 3]`.

    Returns:
        Dict from each of `KINDS` to its `LocalFeatures`.
    """
    grey = to_grey(clip)
    chosen = appearance_frames(len(clip))
    dense, sparse = _hogs(grey, chosen)
    return {"dense_hog": dense, "sparse_hog": sparse, "textons": textons(grey, chosen), "cuboids": cuboids(grey)}


def appearance_frames(num_frames):
    """Numbers of the frames in which appearance is looked at: the middles of parts of about `FRAME_STEP` frames."""
    parts = -(-num_frames // FRAME_STEP)
    return [int((part + 0.5) * num_frames / parts) for part in range(parts)]


def to_grey(clip):
    """Grey levels, uint8 `[time, height, width]`, of a clip uint8 `[time, height, width, 3]`."""
    return np.stack([cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_RGB2GRAY) for frame in clip])


def _hogs(grey, chosen):
    """HOG at the places of a grid in two scales, and at corners."""
    dense, sparse = [], []
    _, height, width = grey.shape
    grid = _grid(height, width)
    for number in chosen:
        time = (number + 0.5) / len(grey)
        channels = orientation_channels(grey[number])
        for cells in CELLS_PER_SIDE:
            dense.append(_at(hog_at(channels, grid, max(2, round(height / cells))), grid, time, height, width))
        points = corners(grey[number])
        cell_px = max(2, round(height / CELLS_PER_SIDE[0]))
        sparse.append(_at(hog_at(channels, points, cell_px), points, time, height, width))
    return _joined(dense), _joined(sparse)


def _grid(height, width):
    """Places of dense features, int `[place, 2]` of y and x in pixels."""
    rows, columns = ((np.arange(GRID) + 0.5) * size / GRID for size in (height, width))
    return np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1).reshape(-1, 2).astype(np.int64)


def _at(descriptors, points, time, height, width):
    positions = np.empty((len(points), 3), np.float32)
    positions[:, 0] = time
    positions[:, 1:] = (points + 0.5) / (height, width)
    return LocalFeatures(descriptors, positions)


def _joined(parts):
    return LocalFeatures(
        *(np.concatenate([getattr(part, name) for part in parts]) for name in ("descriptors", "positions"))
    )


def orientation_channels(grey):
    """The gradient of each pixel, shared out between the two orientations next to its own (Dalal and Triggs, 2005).

    Args:
        grey: uint8 `[height, width]`.

    Returns:
        float32 `[height, width, ORIENTATIONS]`: channel k is of gradients at 180 k / `ORIENTATIONS` degrees from the
        x axis, whatever their sign.
    """
    image = grey.astype(np.float32)
    along_x, along_y = (cv2.filter2D(image, -1, kernel, borderType=cv2.BORDER_REPLICATE) for kernel in _DIFFERENCES)
    magnitude, angle = cv2.cartToPolar(along_x, along_y, angleInDegrees=True)
    place = (angle * (ORIENTATIONS / 180.0)) % ORIENTATIONS
    lower = np.floor(place)
    part = place - lower
    lower = lower.astype(np.int64) % ORIENTATIONS
    channels = np.zeros((*grey.shape, ORIENTATIONS), np.float32)
    rows, columns = np.indices(grey.shape, sparse=True)
    channels[rows, columns, lower] = magnitude * (1 - part)
    channels[rows, columns, (lower + 1) % ORIENTATIONS] += magnitude * part
    return channels


_DIFFERENCES = (np.array([[-0.5, 0, 0.5]], np.float32), np.array([[-0.5], [0], [0.5]], np.float32))


def hog_at(channels, points, cell_px):
    """Histograms of oriented gradients of 2 x 2 cells around some places (Dalal and Triggs, 2005).

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
    centres = np.floor(points[:, None] + offsets + 0.5).astype(np.int64)
    cells = means[centres[..., 0].clip(0, height - 1), centres[..., 1].clip(0, width - 1)]
    return _clipped_unit(cells.reshape(len(points), 4 * ORIENTATIONS))


def _clipped_unit(rows):
    """Rows of length 1, flat ones shorter, with no entry far above `CLIPPED`."""
    rows = np.minimum(rows / np.sqrt(np.square(rows).sum(axis=1, keepdims=True) + FLAT**2), CLIPPED)
    return rows / np.maximum(np.sqrt(np.square(rows).sum(axis=1, keepdims=True)), CLIPPED)


def corners(grey):
    """The strongest corners of a picture (Shi and Tomasi, 1994), `CORNERS` at most.

    Args:
        grey: uint8 `[height, width]`.

    Returns:
        int64 `[place, 2]`, y and x.
    """
    apart_px = max(2, grey.shape[0] / 40)
    found = cv2.goodFeaturesToTrack(grey, CORNERS, CORNER_QUALITY, apart_px)
    if found is None:
        return np.zeros((0, 2), np.int64)
    return found.reshape(-1, 2)[:, ::-1].astype(np.int64)


def textons(grey, chosen):
    """Responses to a bank of filters at the places of a grid.

    The bank is the eight largest responses over all orientations of Varma and Zisserman (2005), MR8: edges and bars at
    three scales, a Gaussian and a Laplacian. Differs from theirs: edges and bars are derivatives of round Gaussians,
    not of long ones; these can be steered, so that the largest response over all orientations is known in closed form.

    Args:
        grey: uint8 `[time, height, width]`.
        chosen: numbers of the frames to look at.

    Returns:
        `LocalFeatures`.
    """
    _, height, width = grey.shape
    grid = _grid(height, width)
    stack = np.moveaxis(grey[chosen], 0, -1).astype(np.float32) / 255
    responses = filter_responses(stack)[grid[:, 0], grid[:, 1]]  # [place, frame, filter]
    parts = [
        _at(responses[:, index], grid, (number + 0.5) / len(grey), height, width) for index, number in enumerate(chosen)
    ]
    joined = _joined(parts)
    return LocalFeatures(_webers_law(joined.descriptors), joined.positions)


def filter_responses(stack):
    """The bank of `textons` at each pixel.

    Args:
        stack: float32 `[height, width, frame]`, grey levels from 0 to 1.

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


def _gaussian_derivatives(sigma_px):
    """A Gaussian and its first two derivatives, sampled; float64 `[taps]` each.

    They are scaled to be exact where it counts: 1, x and x^2 / 2 give 1, and the second gives 0 for a constant.
    """
    x = np.arange(-int(4 * sigma_px), int(4 * sigma_px) + 1)
    smooth = np.exp(-(x**2) / (2 * sigma_px**2))
    smooth /= smooth.sum()
    first = x * smooth / (x**2 * smooth).sum()
    second = (x**2 / sigma_px**2 - 1) * smooth
    second -= smooth * second.sum()
    return smooth, first, second * 2 / (x**2 * second).sum()


def _filtered(stack, along_x, along_y):
    border = cv2.BORDER_REFLECT_101
    return _on_channels(stack, lambda some: cv2.sepFilter2D(some, -1, along_x, along_y, borderType=border))


def _on_channels(stack, function):
    """Filters a stack of pictures, `[height, width, frame]`, as the channels of one: OpenCV takes some hundreds."""
    parts = [
        # OpenCV drops the axis of a single channel.
        function(np.ascontiguousarray(some)).reshape(some.shape)
        for some in (stack[..., start : start + MOST_CHANNELS] for start in range(0, stack.shape[-1], MOST_CHANNELS))
    ]
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=-1)


def _webers_law(responses):
    """Compresses long responses (Varma and Zisserman, 2005)."""
    length = np.maximum(np.sqrt(np.square(responses).sum(axis=-1, keepdims=True)), 1e-6)
    return responses * (np.log1p(length / 0.03) / length)


def cuboids(grey):
    """Descriptors of the gradients around places where something moves (Dollar and others, 2005).

    Around each place lie 3 x 3 cells of space and 2 of time. Each has the means of the gradients along x, y and time,
    their positive and negative parts apart. Differs from theirs, which are the single gradients, and principal
    components of them.

    Args:
        grey: uint8 `[time, height, width]`.

    Returns:
        `LocalFeatures`.
    """
    height = grey.shape[1]
    sigma_px = height * CUBOID_SIGMA
    stack = np.moveaxis(grey, 0, -1).astype(np.float32)
    smooth = _on_channels(stack, lambda some: cv2.GaussianBlur(some, (0, 0), sigma_px))
    points = strongest_maxima(motion_response(smooth), round(2 * sigma_px))
    positions = ((points + 0.5) / grey.shape).astype(np.float32)
    if not len(points):
        return LocalFeatures(np.zeros((0, KIND_DIMS["cuboids"]), np.float32), positions)
    cell_px = max(2, round(height / CELLS_PER_SIDE[0]))
    means = [_on_channels(part, lambda some: cv2.blur(some, (cell_px, cell_px))) for part in _half_gradients(smooth)]
    rows, columns, frames = _cuboid_cells(points, grey.shape, cell_px)
    cells = [part[rows, columns, frames].mean(axis=-1) for part in means]  # [place, y, x, half] each
    return LocalFeatures(_clipped_unit(np.stack(cells, axis=-1).reshape(len(points), -1)), positions)


def _half_gradients(smooth):
    """Positive and negative parts of the gradients along x, y and time, float32 `[height, width, time]` each."""
    gradients = [
        _on_channels(
            smooth, lambda some, kernel=kernel: cv2.filter2D(some, -1, kernel, borderType=cv2.BORDER_REPLICATE)
        )
        for kernel in _DIFFERENCES
    ]
    gradients.append(np.gradient(smooth, axis=2) if smooth.shape[2] > 1 else np.zeros_like(smooth))
    for gradient in gradients:
        yield np.maximum(gradient, 0)
        yield np.maximum(-gradient, 0)


def _cuboid_cells(points, shape, cell_px):
    """Indices of the cells' centres and frames, to be broadcast to `[place, y, x, half, frame of the half]`."""
    num_frames, height, width = shape
    steps = (np.arange(CUBOID_CELLS) - CUBOID_CELLS // 2) * cell_px
    halves = np.arange(2 * CUBOID_CELL_FRAMES).reshape(2, CUBOID_CELL_FRAMES) - CUBOID_CELL_FRAMES
    rows = (points[:, 1, None] + steps).clip(0, height - 1)[:, :, None, None, None]
    columns = (points[:, 2, None] + steps).clip(0, width - 1)[:, None, :, None, None]
    frames = (points[:, 0, None, None] + halves).clip(0, num_frames - 1)[:, None, None]
    return rows, columns, frames


def temporal_filters(num_frames):
    """A quadrature pair of Gabor filters in time, for all frames at once (Dollar and others, 2005).

    Differs from theirs: the frequency is `CUBOID_FREQUENCY` instead of 4 / tau, which lies above what frames can show;
    and the even one is made to answer 0 where nothing changes. Before the first and after the last frame, nothing does.

    Args:
        num_frames: frames of the clip.

    Returns:
        float32 `[2, answer, frame]`: the even and the odd one.
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


def motion_response(smooth):
    """How much each pixel flickers or is passed by an edge: the energy of the quadrature pair.

    Args:
        smooth: float32 `[height, width, time]`, grey levels after a Gaussian.

    Returns:
        float32 `[height, width, time]`, squared grey levels.
    """
    even, odd = temporal_filters(smooth.shape[2])
    return np.square(smooth @ even.T) + np.square(smooth @ odd.T)


def strongest_maxima(response, apart_px):
    """The strongest local maxima of a response in space and time, `CUBOIDS` at most.

    Args:
        response: float32 `[height, width, time]`.
        apart_px: how far around in space there is no larger value; in time it is a frame.

    Returns:
        int64 `[place, 3]`: frame, y and x, the strongest first.
    """
    side = 2 * max(1, apart_px) + 1
    largest = _on_channels(response, lambda some: cv2.dilate(some, np.ones((side, side), np.uint8)))
    around = largest.copy()
    around[..., 1:] = np.maximum(around[..., 1:], largest[..., :-1])
    around[..., :-1] = np.maximum(around[..., :-1], largest[..., 1:])
    rows, columns, frames = np.nonzero((response == around) & (response > CUBOID_LEAST))
    order = np.argsort(-response[rows, columns, frames], kind="stable")[:CUBOIDS]
    return np.stack([frames, rows, columns], axis=-1)[order]


def hue_saturation_bins(clip):
    """The bin of each pixel's hue and saturation.

    Args:
        clip: uint8 `[time, height, width, 3]`.

    Returns:
        int64 `[time, height, width]`, `SATURATIONS` * hue + saturation.
    """
    hsv = np.stack([cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_RGB2HSV) for frame in clip])
    hues = hsv[..., 0].astype(np.int64) * HUES // HUE_RANGE
    return hues * SATURATIONS + hsv[..., 1].astype(np.int64) * SATURATIONS // SATURATION_RANGE


def colour_moments(power_sums, pixels):
    """Mean, standard deviation and the third central moment's root of each colour (Stricker and Orengo, 1995).

    Args:
        power_sums: float64 `[..., 3 powers, 3 colours]`, sums over pixels of the first three powers of colours from 0
            to 1.
        pixels: `[...]`, how many pixels they are sums over; 0 gives zeros.

    Returns:
        float64 `[..., 9]`: three means, three deviations, three cube roots with their sign.
    """
    first, second, third = np.moveaxis(power_sums / np.maximum(pixels, 1)[..., None, None], -2, 0)
    variance = np.maximum(second - first**2, 0)
    skewness = third - 3 * first * second + 2 * first**3
    return np.concatenate([first, np.sqrt(variance), np.cbrt(skewness)], axis=-1)
