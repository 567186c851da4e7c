"""Scores of trained runs, and what an evaluation computes from them.

An evaluator is one module with a function `run(evaluation)` that yields (name, value) for the result: a new one is one
new file, and one line in `EVALUATORS`, whose order is that of the result. A metric that is a mean over clips or videos
needs no evaluator: see `deepvideo_tf.metrics`.
"""

EVALUATORS = {
    "means": "deepvideo_tf.evaluation.means",
    "average_precision": "deepvideo_tf.evaluation.mean_average_precision",
    "groups": "deepvideo_tf.evaluation.groups",
    "intervals": "deepvideo_tf.evaluation.intervals",
    "chance": "deepvideo_tf.evaluation.chance",
    "classes": "deepvideo_tf.evaluation.classes",
    "confusion": "deepvideo_tf.evaluation.confusion",
    "comparison": "deepvideo_tf.evaluation.comparison",
    "motion": "deepvideo_tf.evaluation.motion",
    "videos": "deepvideo_tf.evaluation.videos",
}
