"""Means over clips and videos: Hit@k (section 4.1), and every other registered metric."""

from deepvideo_tf.evaluation.context import Evaluation, Results


def run(evaluation: Evaluation) -> Results:
    """Yield `clip_<metric>` and `video_<metric>`."""
    yield from evaluation.sums.means().items()
