"""Whether the model uses motion: the same clips with frames shuffled, reversed and frozen."""

from typing import Any

from deepvideo_tf.evaluation.classes import by_class
from deepvideo_tf.evaluation.context import Evaluation, Results, known_mean
from deepvideo_tf.evaluation.scores import FORWARD, MOTION_ORDERS, check_same_clips
from deepvideo_tf.evaluation.video_sums import CLIP_HIT, VIDEO_HIT, VideoSums, video_sums
from deepvideo_tf.metrics.average_precision import average_precision


def run(evaluation: Evaluation) -> Results:
    """Yield `motion`, if asked for: by time order, the results and their changes."""
    if not evaluation.motion:
        return
    if all(set(of_run) == {FORWARD} for of_run in evaluation.scored.values()):
        note = "the model sees one frame of each clip: no order changes anything"
        yield "motion", {"orders": {}, "matters": [], "note": note}
        return
    forward, forward_classes = video_sums(evaluation.scores), by_class(evaluation.scores, evaluation.ap)
    orders, matters = {}, []
    for time_order in MOTION_ORDERS:
        reordered = evaluation.average(time_order)
        check_same_clips({FORWARD: evaluation.scores, time_order: reordered})
        sums, ap = video_sums(reordered), average_precision(reordered.is_true, reordered.video_scores)
        found = _changes(sums, forward)
        found |= {"map": known_mean(ap), "map_change": known_mean(ap - evaluation.ap)}
        found["classes"] = {
            name: {
                f"{key}_change": of_class[key] - forward_classes[name][key] if of_class["videos"] else None
                for key in ("ap", VIDEO_HIT)
            }
            for name, of_class in by_class(reordered, ap).items()
        }
        orders[time_order] = found
        if any(found[f"{name}_change_interval"][1] < 0 for name in (CLIP_HIT, VIDEO_HIT)):
            matters.append(time_order)
    yield "motion", {"orders": orders, "matters": matters}


def _changes(sums: VideoSums, forward: VideoSums) -> dict[str, Any]:
    means, changes = sums.means(), sums - forward
    differences, intervals = changes.means(), changes.intervals()
    found: dict[str, Any] = {}
    for name in (CLIP_HIT, VIDEO_HIT):
        found[name] = means[name]
        found[f"{name}_change"] = differences[name]
        found[f"{name}_change_interval"] = intervals[name]
    return found
