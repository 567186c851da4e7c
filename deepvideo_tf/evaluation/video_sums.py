"""Means over clips and videos, kept as sums over each video's so that videos can be resampled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from deepvideo_tf.evaluation.scores import Scores, row_chunks
from deepvideo_tf.metrics import training_metrics
from deepvideo_tf.metrics.bootstrap import mean_intervals
from deepvideo_tf.metrics.clip_metric import ClipMetric
from deepvideo_tf.metrics.hit_at_k import HitAtK

CLIP_HIT = "clip_hit_at_1"
VIDEO_HIT = "video_hit_at_1"


@dataclass(frozen=True, eq=False)
class VideoSums:
    """Means over clips or videos, as sums over those of each video.

    Args:
        sums: by the name of a mean, float64 `[video]`.
        counts: by its name, the number of clips of each video, or ones, float64 `[video]`.
    """

    sums: dict[str, np.ndarray]
    counts: dict[str, np.ndarray]

    def means(self) -> dict[str, float]:
        """Return the means by their names."""
        return {name: float(sums.sum() / self.counts[name].sum()) for name, sums in self.sums.items()}

    def intervals(self) -> dict[str, list[float]]:
        """Return the lower and upper bounds of the means' 95% intervals by their names."""
        sums, counts = (np.stack(list(arrays.values()), axis=1) for arrays in (self.sums, self.counts))
        return dict(zip(self.sums, mean_intervals(sums, counts).T.tolist(), strict=True))

    def __sub__(self, other: VideoSums) -> VideoSums:
        """Return the differences of the same videos and clips, whose intervals are therefore paired."""
        return VideoSums({name: sums - other.sums[name] for name, sums in self.sums.items()}, self.counts)


def measures(ks: Sequence[int] = (1,)) -> dict[str, ClipMetric]:
    """Return what is averaged over clips (`clip_<metric>`) and over videos (`video_<metric>`).

    Args:
        ks: the k of the videos' Hit@k.

    Returns:
        Metrics by the name of their mean: Hit@1 of clips, Hit@k of videos, and all other registered metrics of both.
    """
    found: dict[str, ClipMetric] = {CLIP_HIT: HitAtK(1)} | {f"video_hit_at_{k}": HitAtK(k) for k in ks}
    others = [metric for metric in training_metrics() if not isinstance(metric, HitAtK)]
    return found | {f"{rows}_{metric.name}": metric for metric in others for rows in ("clip", "video")}


def video_sums(scores: Scores, ks: Sequence[int] = (1,)) -> VideoSums:
    """Sum every measure over each video.

    Args:
        scores: the scores.
        ks: the k of the videos' Hit@k.

    Returns:
        `VideoSums` of `measures(ks)`.
    """
    videos = np.arange(len(scores.video_ids))
    sums, counts = {}, {}
    for name, metric in measures(ks).items():
        if name.startswith("clip_"):
            values = values_of(metric, scores.clip_scores, scores.is_true, scores.clip_videos)
            sums[name] = np.bincount(scores.clip_videos, values)
            counts[name] = np.bincount(scores.clip_videos).astype(float)
        else:
            sums[name] = values_of(metric, scores.video_scores, scores.is_true, videos).astype(float)
            counts[name] = np.ones(len(videos))
    return VideoSums(sums, counts)


def values_of(metric: ClipMetric, scores: np.ndarray, is_true: np.ndarray, videos: np.ndarray) -> np.ndarray:
    """Compute a metric's value of each row, in chunks, since the scores of all clips may not fit into memory.

    Args:
        metric: the metric.
        scores: `[row, class]`.
        is_true: bool `[video, class]`.
        videos: int `[row]`, the index of each row's video.

    Returns:
        bool or float `[row]`.
    """
    return np.concatenate([metric.numpy_values(is_true[videos[rows]], scores[rows]) for rows in row_chunks(scores)])
