"""The prediction of each video."""

import numpy as np

from deepvideo_tf.evaluation.context import Evaluation, Results


def run(evaluation: Evaluation) -> Results:
    """Yield `per_video`, in the order of the shards."""
    scores = evaluation.scores
    yield (
        "per_video",
        [
            {
                "video_id": video_id,
                "labels": [scores.classes[label] for label in np.flatnonzero(is_true)],
                "predicted": scores.classes[of_video.argmax()],
                "probability": round(float(of_video.max()), 6),
            }
            for video_id, is_true, of_video in zip(scores.video_ids, scores.is_true, scores.video_scores, strict=True)
        ],
    )
