"""Comparison with another run, class by class (Table 2)."""

import math
from typing import Any

import numpy as np

from deepvideo_tf.evaluation.context import Evaluation, Results, known_mean, number_or_none
from deepvideo_tf.evaluation.scores import check_same_clips
from deepvideo_tf.evaluation.video_sums import VIDEO_HIT, video_sums
from deepvideo_tf.metrics.average_precision import average_precision
from deepvideo_tf.metrics.bootstrap import mean_interval, resampled_average_precision

LISTED_DIFFERENCES = 5  # gains, and as many losses, in Table 2


def run(evaluation: Evaluation) -> Results:
    """Yield `against`, if there is a run to compare with: the differences from it, and the largest gains and losses."""
    if evaluation.against is None:
        return
    (name, other), scores = evaluation.against, evaluation.scores
    check_same_clips({" + ".join(map(str, evaluation.scored)): scores, str(name): other})
    others = video_sums(other)
    differences = video_sums(scores) - others
    other_ap = average_precision(other.is_true, other.video_scores)
    ap_difference = evaluation.ap - other_ap
    resampled = evaluation.resampled_ap - resampled_average_precision(other.is_true, other.video_scores)
    rows = _by_class(evaluation, ap_difference, resampled)
    yield (
        "against",
        {
            "run": str(name),
            VIDEO_HIT: others.means()[VIDEO_HIT],
            f"{VIDEO_HIT}_difference": differences.means()[VIDEO_HIT],
            "interval": differences.intervals()[VIDEO_HIT],
            "map": known_mean(other_ap),
            "map_difference": known_mean(ap_difference),
            "ap_difference": dict(zip(scores.classes, map(number_or_none, ap_difference), strict=True)),
            "gains": _largest(rows, 1),
            "losses": _largest(rows, -1),
        },
    )


def _by_class(evaluation: Evaluation, ap_difference: np.ndarray, resampled: np.ndarray) -> list[dict[str, Any]]:
    return [
        {
            "class": name,
            "ap": float(evaluation.ap[label]),
            "ap_difference": float(ap_difference[label]),
            "interval": mean_interval(resampled[:, [label]]),
        }
        for label, name in enumerate(evaluation.scores.classes)
        if not math.isnan(evaluation.ap[label])
    ]


def _largest(rows: list[dict[str, Any]], sign: int) -> list[dict[str, Any]]:
    """Return the rows with the largest differences of a sign, the largest first."""
    of_sign = [row for row in rows if sign * row["ap_difference"] > 0]
    return sorted(of_sign, key=lambda row: -sign * row["ap_difference"])[:LISTED_DIFFERENCES]
