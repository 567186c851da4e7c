"""What a clip is, what shards hold and what a run is: frozen dataclasses, validated, to and from JSON.

Imports neither TensorFlow nor Keras, so that programs start fast.
"""

# ruff: noqa: F401 - these are the public names of the folder

from deepvideo_tf.config.card import CARD_NAME, ModelCard
from deepvideo_tf.config.checks import check_choice, check_int, check_number
from deepvideo_tf.config.clip import ClipSpec
from deepvideo_tf.config.distribution import ProcessSpec
from deepvideo_tf.config.histograms import HistogramConfig
from deepvideo_tf.config.json import from_json, to_json
from deepvideo_tf.config.limits import DecodeLimits
from deepvideo_tf.config.models import (
    FEATURE_HISTOGRAMS,
    FUSION_CLIPS,
    FUSIONS,
    MODEL_CLIPS,
    MODEL_NAMES,
    MODELS,
    STREAMS,
    TRAINABLE_CLIPS,
    TRAINABLE_NAMES,
    ModelDefaults,
    multires_name,
)
from deepvideo_tf.config.shards import FRAME_FORMATS, ShardSpec
from deepvideo_tf.config.train import FINETUNE_MODES, FINETUNED_TOP_DROPOUT, TrainConfig
