"""The results that classes ranked at random are expected to reach."""

import numpy as np

from deepvideo_tf.evaluation.context import Evaluation, Results, known_mean
from deepvideo_tf.evaluation.video_sums import measures
from deepvideo_tf.metrics.average_precision import random_average_precision


def run(evaluation: Evaluation) -> Results:
    """Yield `chance`: the expected result by name; None where a metric does not know it."""
    scores = evaluation.scores
    videos, num_classes = scores.is_true.shape
    num_labels, num_clips = scores.is_true.sum(axis=1), np.bincount(scores.clip_videos)
    means = {
        name: metric.chance(num_labels, num_classes, num_clips if name.startswith("clip_") else None)
        for name, metric in measures(evaluation.ks).items()
    }
    ap = [random_average_precision(int(positives), videos) for positives in scores.is_true.sum(axis=0)]
    yield "chance", {**means, "map": known_mean(ap)}
