"""Figures of what a model has learned and how well: plain data in, a matplotlib `Figure` out.

A figure is drawn on the Agg canvas without pyplot, whose state belongs to the whole process; in a notebook it is
displayed as the last expression of a cell. Colors are Okabe and Ito's and cividis, which are distinct for the
color-blind; hatches, line styles, marks or brightness repeat what colors say, so that it survives a gray printer.

A figure is one file with a function, and one line in `FIGURES`.
"""

from deepvideo_tf.errors import DeepVideoError

try:
    import matplotlib  # noqa: F401
except ImportError as error:
    raise DeepVideoError(f"pictures need the extra: pip install 'deepvideo-tf[plots]' ({error})") from None

from deepvideo_tf.runs.history import read_history
from deepvideo_tf.visualization.plots.class_bars import average_precision, ranked_by_group
from deepvideo_tf.visualization.plots.curve_panels import CURVES, curves
from deepvideo_tf.visualization.plots.figure import DPI, to_png
from deepvideo_tf.visualization.plots.filter_mosaics import RANDOM_COLOURFULNESS, colourfulness, filters
from deepvideo_tf.visualization.plots.intervals import models
from deepvideo_tf.visualization.plots.matrix import confusion
from deepvideo_tf.visualization.plots.occlusion import overlay, saliency
from deepvideo_tf.visualization.plots.probability_bars import predictions, ranked_classes
from deepvideo_tf.visualization.plots.stream_panels import views

FIGURES = {
    "filters": filters,
    "predictions": predictions,
    "curves": curves,
    "confusion": confusion,
    "average_precision": average_precision,
    "saliency": saliency,
    "views": views,
    "models": models,
}

__all__ = [
    *FIGURES,
    "CURVES",
    "DPI",
    "FIGURES",
    "RANDOM_COLOURFULNESS",
    "colourfulness",
    "overlay",
    "ranked_by_group",
    "ranked_classes",
    "read_history",
    "to_png",
]
