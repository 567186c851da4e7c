"""Hand-made features of a clip: HOG, textons, spatio-temporal cuboids, hue and saturation, color moments.

Appearance is looked at in some frames of a clip, motion in all of them. Places and cells are fractions of the frame's
size, so that a clip stored in more pixels has similar features; the filters of textons and corners have sizes in
pixels. Everything here is a function of the pixels alone.
"""

import cv2
import numpy as np

from deepvideo_tf.baseline.appearance import ORIENTATIONS, appearance_frames, hogs, textons
from deepvideo_tf.baseline.cuboids import CUBOID_DIMS, cuboids
from deepvideo_tf.baseline.places import LocalFeatures

FEATURES_VERSION = 1  # of what these modules compute: caches of another one are not used

HUES, SATURATIONS = 16, 8
HUE_RANGE, SATURATION_RANGE = 180, 256  # of OpenCV's 8 bit HSV
MOMENTS = 9

KIND_DIMS = {"dense_hog": 4 * ORIENTATIONS, "sparse_hog": 4 * ORIENTATIONS, "textons": 8, "cuboids": CUBOID_DIMS}
KINDS = tuple(KIND_DIMS)


def local_features(clip: np.ndarray) -> dict[str, LocalFeatures]:
    """Compute all kinds of local features of a clip.

    Args:
        clip: uint8 `[time, height, width, 3]`.

    Returns:
        Dict from each of `KINDS` to its `LocalFeatures`.
    """
    gray = to_gray(clip)
    chosen = appearance_frames(len(clip))
    dense, sparse = hogs(gray, chosen)
    return {"dense_hog": dense, "sparse_hog": sparse, "textons": textons(gray, chosen), "cuboids": cuboids(gray)}


def to_gray(clip: np.ndarray) -> np.ndarray:
    """Return the gray levels, uint8 `[time, height, width]`, of a clip uint8 `[time, height, width, 3]`."""
    return np.stack([cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_RGB2GRAY) for frame in clip])


def hue_saturation_bins(clip: np.ndarray) -> np.ndarray:
    """Return the bin of each pixel's hue and saturation.

    Args:
        clip: uint8 `[time, height, width, 3]`.

    Returns:
        int64 `[time, height, width]`, `SATURATIONS` * hue + saturation.
    """
    hsv = np.stack([cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_RGB2HSV) for frame in clip])
    hues = hsv[..., 0].astype(np.int64) * HUES // HUE_RANGE
    return hues * SATURATIONS + hsv[..., 1].astype(np.int64) * SATURATIONS // SATURATION_RANGE


def color_moments(power_sums: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """Return mean, standard deviation and the third central moment's root of each color (Stricker and Orengo, 1995).

    Args:
        power_sums: float64 `[..., 3 powers, 3 colors]`, sums over pixels of the first three powers of colors from 0
            to 1.
        pixels: `[...]`, how many pixels they are sums over; 0 gives zeros.

    Returns:
        float64 `[..., 9]`: three means, three deviations, three cube roots with their sign.
    """
    first, second, third = np.moveaxis(power_sums / np.maximum(pixels, 1)[..., None, None], -2, 0)
    variance = np.maximum(second - first**2, 0)
    skewness = third - 3 * first * second + 2 * first**3
    return np.concatenate([first, np.sqrt(variance), np.cbrt(skewness)], axis=-1)
