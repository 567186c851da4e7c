"""Codebooks of visual words, and the histogram of a clip: soft quantisation, spatial pyramid, concatenation.

local features -> the words they are like -> counts by cell of the pyramid -> fractions -> one vector per clip
"""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from deepvideo_tf.baseline import features
from deepvideo_tf.baseline.appearance import appearance_frames
from deepvideo_tf.baseline.features import KINDS
from deepvideo_tf.baseline.places import LocalFeatures

SOFTNESS = 0.2  # the kernel's variance, as a fraction of the mean squared distance from a descriptor to its word
CELLS = 7  # of the pyramid: the whole clip, four quarters of the frame, two halves of the time
LEVELS = 3  # in each of them the cells hold the whole clip once
FAR = 1e3  # a word that no descriptor is near to


@dataclass(frozen=True, eq=False)
class Codebook:
    """The words of one kind of feature.

    Args:
        words: float32 `[word, dim]`.
        width: standard deviation of the Gaussian kernel by which a descriptor is divided among words; 0 gives all of
            it to the nearest one.
    """

    words: np.ndarray
    width: float


def learn_codebook(descriptors: np.ndarray, num_words: int, seed: int = 0) -> Codebook:
    """Learn the words of a kind of feature by k-means.

    Args:
        descriptors: float32 `[descriptor, dim]`, a sample that fits into memory.
        num_words: words to learn.
        seed: of the first guess.

    Returns:
        `Codebook` of `num_words` words; where there are fewer different descriptors, of words that nothing is near to.
    """
    from sklearn.cluster import MiniBatchKMeans
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits

    words = np.full((num_words, descriptors.shape[1]), FAR, np.float32)
    distinct = np.unique(descriptors, axis=0)
    if len(distinct) <= num_words:
        words[: len(distinct)] = distinct
    else:
        kmeans = MiniBatchKMeans(
            num_words, batch_size=4096, n_init=1, init_size=3 * max(4096, num_words), random_state=seed
        )
        # On one thread sums are taken in one order, and come out the same to the bit.
        with threadpool_limits(1), warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # of many equal descriptors, as of a plain wall
            words[:] = kmeans.fit(descriptors).cluster_centers_
    nearest = [
        squared_distances(descriptors[start : start + 4096], words).min(axis=1)
        for start in range(0, len(descriptors), 4096)
    ]
    spread = float(np.concatenate(nearest).mean(dtype=np.float64)) if nearest else 0.0
    return Codebook(words, float(np.float32(np.sqrt(SOFTNESS * spread))))  # as a checkpoint will have it


def squared_distances(descriptors: np.ndarray, words: np.ndarray) -> np.ndarray:
    """Return the squared distances, float32 `[descriptor, word]`."""
    products = descriptors @ words.T
    products *= -2
    products += np.square(descriptors).sum(axis=1)[:, None]
    products += np.square(words).sum(axis=1)
    return np.maximum(products, 0, out=products)


def assign(descriptors: np.ndarray, codebook: Codebook) -> np.ndarray:
    """Divide each descriptor among the words, by a Gaussian of the distance (van Gemert and others, 2008).

    Args:
        descriptors: float32 `[descriptor, dim]`.
        codebook: `Codebook`.

    Returns:
        float32 `[descriptor, word]`; each row sums to 1.
    """
    distances = squared_distances(descriptors, codebook.words)
    if codebook.width == 0:
        return np.eye(len(codebook.words), dtype=np.float32)[distances.argmin(axis=1)]
    distances -= distances.min(axis=1, keepdims=True)
    distances *= -0.5 / codebook.width**2
    shares = np.exp(distances, out=distances)
    shares /= shares.sum(axis=1, keepdims=True)
    return shares


def smallest_cells(positions: np.ndarray) -> np.ndarray:
    """Return the eighth of the clip that each place lies in: 4 * half of time + 2 * half of height + half of width.

    Args:
        positions: `[place, 3]`, time, y and x, at least 0 and below 1.

    Returns:
        int64 `[place]`.
    """
    return (positions >= 0.5) @ np.array([4, 2, 1])


def pyramid(eighths: np.ndarray) -> np.ndarray:
    """Return the cells of the pyramid as sums of the eighths that they hold.

    Args:
        eighths: `[8, ...]`, counts by `smallest_cells`.

    Returns:
        `[7, ...]`: the whole clip; its upper left, upper right, lower left and lower right quarter; its first and its
        second half.
    """
    by_axis = eighths.reshape(2, 2, 2, *eighths.shape[1:])
    quarters = by_axis.sum(axis=0).reshape(4, *eighths.shape[1:])
    halves = by_axis.sum(axis=(1, 2))
    return np.concatenate([quarters.sum(axis=0, keepdims=True), quarters, halves])


def word_histogram(found: LocalFeatures, codebook: Codebook) -> np.ndarray:
    """Compute the histogram of one kind of feature, in all cells of the pyramid.

    Args:
        found: features of one kind.
        codebook: of that kind.

    Returns:
        float32 `[7, word]`: the whole clip's sums to 1, the quarters add up to it, and so do the halves. All 0 where
        there are no features.
    """
    eighths = np.zeros((8, len(codebook.words)), np.float32)
    if len(found.descriptors):
        of_cell = smallest_cells(found.positions) == np.arange(8)[:, None]
        eighths = of_cell.astype(np.float32) @ assign(found.descriptors, codebook)
    return pyramid(eighths) / max(1, len(found.descriptors))


def color_histogram(clip: np.ndarray) -> np.ndarray:
    """Compute the histogram of hue and saturation, in all cells of the pyramid.

    Args:
        clip: uint8 `[time, height, width, 3]`.

    Returns:
        float32 `[7, HUES * SATURATIONS]`, which adds up as `word_histogram`'s does.
    """
    bins = features.HUES * features.SATURATIONS
    places = _eighths_of_pixels(clip.shape[:3]) * bins + features.hue_saturation_bins(clip)
    eighths = np.bincount(places.ravel(), minlength=8 * bins).reshape(8, bins)
    return (pyramid(eighths) / places.size).astype(np.float32)


def color_moments(clip: np.ndarray) -> np.ndarray:
    """Compute the moments of the three colors, in all cells of the pyramid.

    Args:
        clip: uint8 `[time, height, width, 3]`.

    Returns:
        float32 `[7, 9]`; the last three of a cell may be negative.
    """
    places = _eighths_of_pixels(clip.shape[:3]).ravel()
    counts = np.stack([np.bincount(places * 256 + clip[..., color].ravel(), minlength=8 * 256) for color in range(3)])
    counts = pyramid(np.moveaxis(counts.reshape(3, 8, 256), 1, 0))  # [cell, color, level]
    levels = np.arange(256) / 255
    power_sums = np.stack([counts @ levels**power for power in (1, 2, 3)], axis=1)
    return features.color_moments(power_sums, counts[:, 0].sum(axis=-1)).astype(np.float32)


def _eighths_of_pixels(shape: tuple[int, ...]) -> np.ndarray:
    """Return `smallest_cells` of all pixels, int64 `[time, height, width]`."""
    time, y, x = np.ix_(*((2 * np.arange(size) + 1) // size for size in shape))
    return 4 * time + 2 * y + x


def vector_dims(num_words: int) -> int:
    """Return the dimension of the vector of a clip."""
    return CELLS * (len(KINDS) * num_words + features.HUES * features.SATURATIONS + features.MOMENTS)


def clip_vector(clip: np.ndarray, codebooks: Mapping[str, Codebook]) -> np.ndarray:
    """Compute all histograms of a clip, and its color moments, as one vector: the classifier's input.

    The histograms sum to 1 in each level of the pyramid. The vector has their square roots, whose distances compare
    histograms better (Hellinger's), and the moments as they are.

    Args:
        clip: uint8 `[time, height, width, 3]`.
        codebooks: dict from each of `KINDS` to its `Codebook`.

    Returns:
        float16 `[vector_dims]`, from -1 to 1.
    """
    found = features.local_features(clip)
    chosen = clip[appearance_frames(len(clip))]
    parts = [word_histogram(found[kind], codebooks[kind]) for kind in KINDS]
    parts.append(color_histogram(chosen))
    roots = [np.sqrt(part).ravel() for part in parts]
    return np.concatenate([*roots, color_moments(chosen).ravel()]).astype(np.float16)
