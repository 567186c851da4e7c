"""Mean average precision (Table 2)."""

from deepvideo_tf.evaluation.context import Evaluation, Results, known_mean


def run(evaluation: Evaluation) -> Results:
    """Yield `map`, the mean over the classes that have videos."""
    yield "map", known_mean(evaluation.ap)
