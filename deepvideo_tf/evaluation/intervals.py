"""95% intervals of the means and of mean average precision."""

from deepvideo_tf.evaluation.context import Evaluation, Results
from deepvideo_tf.metrics.bootstrap import RESAMPLES, mean_interval


def run(evaluation: Evaluation) -> Results:
    """Yield `intervals`: lower and upper bounds by name, and the numbers of resamples."""
    yield (
        "intervals",
        {
            **evaluation.sums.intervals(),
            "map": mean_interval(evaluation.resampled_ap),
            "resamples": RESAMPLES,
            "map_resamples": len(evaluation.resampled_ap),
        },
    )
