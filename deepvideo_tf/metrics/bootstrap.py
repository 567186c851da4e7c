"""95% percentile intervals from a bootstrap over videos.

Videos are drawn with replacement, since the clips of a video are not independent. All intervals use the same draws, so
that intervals of differences are paired.
"""

from collections.abc import Iterator

import numpy as np

from deepvideo_tf.metrics.average_precision import weighted_average_precision

SEED = 0
RESAMPLES = 1000
# Average precision visits every video and class in every resample: large sets get fewer resamples.
FEWEST_RESAMPLES, WORK, WEIGHTS = 100, 3 * 10**9, 2 * 10**7
LEVELS = (0.025, 0.975)


def resamples(num_videos: int, count: int) -> Iterator[np.ndarray]:
    """Yield how many times each video is drawn, int64 `[video]`, for each of `count` resamples."""
    rng = np.random.default_rng(SEED)
    for _ in range(count):
        yield np.bincount(rng.integers(0, num_videos, num_videos), minlength=num_videos)


def mean_intervals(sums: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Compute the intervals of means over clips or videos.

    Args:
        sums: float `[video, statistic]`, the sum over each video's clips, or the value of the video itself.
        counts: float `[video, statistic]`, the number of its clips, or 1.

    Returns:
        float64 `[2, statistic]`, the lower and the upper bounds.
    """
    drawn = np.stack([(weights @ sums) / (weights @ counts) for weights in resamples(len(sums), RESAMPLES)])
    return np.quantile(drawn, LEVELS, axis=0)


def resampled_average_precision(is_true: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Compute the average precision of each class in each resample of the videos.

    Args:
        is_true: bool `[video, class]`.
        scores: float `[video, class]`.

    Returns:
        float64 `[resample, class]`, NaN where no positive was drawn. There are 1000 resamples, fewer on large sets, at
        least 100. The draws depend only on the numbers of videos and classes, so that two models can be compared.
    """
    videos, classes = scores.shape
    count = max(FEWEST_RESAMPLES, min(RESAMPLES, WORK // scores.size, WEIGHTS // videos))
    weights = np.stack([drawn.astype(np.uint16) for drawn in resamples(videos, count)])
    by_class = [weighted_average_precision(is_true[:, label], scores[:, label], weights) for label in range(classes)]
    return np.stack(by_class, axis=1)


def mean_interval(drawn: np.ndarray) -> list[float] | None:
    """Compute the interval of the mean over each row, without its NaNs.

    Args:
        drawn: float64 `[resample, class]`, NaN where unknown.

    Returns:
        The lower and the upper bound, or None if all are NaN.
    """
    present = ~np.isnan(drawn)
    drawn = drawn[present.any(axis=1)]
    return np.quantile(np.nanmean(drawn, axis=1), LEVELS).tolist() if len(drawn) else None
