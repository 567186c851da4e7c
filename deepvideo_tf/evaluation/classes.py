"""Results of each class."""

from typing import Any

import numpy as np

from deepvideo_tf.evaluation.context import Evaluation, Results, number_or_none
from deepvideo_tf.evaluation.scores import Scores
from deepvideo_tf.evaluation.video_sums import VIDEO_HIT, values_of
from deepvideo_tf.metrics.hit_at_k import HitAtK


def run(evaluation: Evaluation) -> Results:
    """Yield `classes`, by the name of each class."""
    yield "classes", by_class(evaluation.scores, evaluation.ap)


def by_class(scores: Scores, ap: np.ndarray) -> dict[str, dict[str, Any]]:
    """Return the `videos`, `video_hit_at_1` and `ap` of each class.

    Args:
        scores: the scores.
        ap: average precision, float `[class]`; NaN where a class has no video.

    Returns:
        Dict by class name; without a video, `video_hit_at_1` and `ap` are None.
    """
    hits = values_of(HitAtK(1), scores.video_scores, scores.is_true, np.arange(len(scores.video_ids)))
    return {
        name: {
            "videos": int(of_class.sum()),
            VIDEO_HIT: float(hits[of_class].mean()) if of_class.any() else None,
            "ap": number_or_none(ap_of_class),
        }
        for name, of_class, ap_of_class in zip(scores.classes, scores.is_true.T, ap, strict=True)
    }
