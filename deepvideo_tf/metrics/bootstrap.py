"""How sure a result is: 95% percentile intervals from a bootstrap over videos.

Videos are what is drawn, with replacement, since the clips of a video are not independent. Every interval comes from
the same draws, so that those of differences are paired.
"""

import numpy as np

from deepvideo_tf.metrics.hit_at_k import weighted_average_precision

SEED = 0
RESAMPLES = 1000
# Average precision looks at every video and class for every resample: beyond this many there are fewer resamples.
FEWEST_RESAMPLES, WORK, WEIGHTS = 100, 3 * 10**9, 2 * 10**7
LEVELS = (0.025, 0.975)


def resamples(num_videos, count):
    """Yields how many times each video is drawn, int64 `[video]`, for each of `count` resamples."""
    rng = np.random.default_rng(SEED)
    for _ in range(count):
        yield np.bincount(rng.integers(0, num_videos, num_videos), minlength=num_videos)


def mean_intervals(sums, counts):
    """Intervals of means over clips, or over videos, whose videos are drawn.

    Args:
        sums: float `[video, statistic]`, the sum over each video's clips; the value itself where a video counts once.
        counts: float `[video, statistic]`, the number of its clips; 1 where a video counts once.

    Returns:
        float64 `[2, statistic]`, the lower and the upper ends.
    """
    drawn = np.stack([(weights @ sums) / (weights @ counts) for weights in resamples(len(sums), RESAMPLES)])
    return np.quantile(drawn, LEVELS, axis=0)


def resampled_average_precision(is_true, scores):
    """Average precision of each class in each resample of the videos.

    Args:
        is_true: bool `[video, class]`.
        scores: float `[video, class]`.

    Returns:
        float64 `[resample, class]`, NaN where no positive was drawn: 1000 resamples, on big sets fewer, 100 at least.
        The same videos are drawn for the same number of videos and classes, so that two models can be compared.
    """
    videos, classes = scores.shape
    count = max(FEWEST_RESAMPLES, min(RESAMPLES, WORK // scores.size, WEIGHTS // videos))
    weights = np.stack([drawn.astype(np.uint16) for drawn in resamples(videos, count)])
    by_class = [weighted_average_precision(is_true[:, label], scores[:, label], weights) for label in range(classes)]
    return np.stack(by_class, axis=1)


def mean_interval(drawn):
    """The interval of the mean over the numbers in each row.

    Args:
        drawn: float64 `[resample, class]`; NaN where there is none.

    Returns:
        (lower end, upper end), or None where there is no number at all.
    """
    present = ~np.isnan(drawn)
    drawn = drawn[present.any(axis=1)]
    return np.quantile(np.nanmean(drawn, axis=1), LEVELS).tolist() if len(drawn) else None
