"""Metrics of examples, average precision and bootstrap intervals.

A metric that is a mean over examples is one file with a `ClipMetric`, and one line in `METRICS`. Training reports it
for clips, evaluation for clips and for videos.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from deepvideo_tf.metrics.clip_metric import ClipMetric

# From the metric's name to its module and class, which needs no argument.
METRICS = {
    "hit_at_1": ("deepvideo_tf.metrics.hit_at_k", "HitAtK"),
}


def training_metrics() -> "list[ClipMetric]":
    """Return a new instance of every registered metric; their names are the keys of `METRICS`."""
    return [getattr(import_module(module), kind)() for module, kind in METRICS.values()]
