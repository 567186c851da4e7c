"""What is trained on. A new source: a file here, its line in `SOURCES`, and when to take it in `source_type`."""

import importlib
from typing import TYPE_CHECKING

from deepvideo_tf.config import FEATURE_HISTOGRAMS, FINETUNE_MODES, TrainConfig

if TYPE_CHECKING:
    from deepvideo_tf.training.sources.base import Source

SOURCES = {
    "clips": "deepvideo_tf.training.sources.clips",
    "features": "deepvideo_tf.training.sources.features",
    "histograms": "deepvideo_tf.training.sources.histograms",
}


def source_type(config: TrainConfig) -> "type[Source]":
    """Return the class of what a run is trained on."""
    if config.model == FEATURE_HISTOGRAMS:
        name = "histograms"
    elif FINETUNE_MODES[config.finetune].freezes and config.cached_views > 0:
        name = "features"
    else:
        name = "clips"
    return importlib.import_module(SOURCES[name]).SOURCE
