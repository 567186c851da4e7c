"""Large-scale video classification with convolutional networks (Karpathy et al., CVPR 2014) in TensorFlow and Keras.

`import deepvideo_tf as dv` is instant: TensorFlow and Keras are imported by the first name that needs them (PEP 562).
"""

import importlib

from deepvideo_tf import errors

__version__ = "0.1.0"

_HOMES = {
    "ClipSpec": "deepvideo_tf.config",
    "ShardSpec": "deepvideo_tf.config",
    "DecodeLimits": "deepvideo_tf.config",
    "TrainConfig": "deepvideo_tf.config",
    "HistogramConfig": "deepvideo_tf.config",
    "single_frame": "deepvideo_tf.models.fusion",
    "early_fusion": "deepvideo_tf.models.fusion",
    "late_fusion": "deepvideo_tf.models.fusion",
    "slow_fusion": "deepvideo_tf.models.fusion",
    "multires": "deepvideo_tf.models.multires",
    "build_model": "deepvideo_tf.models.registry",
    "describe": "deepvideo_tf.models.description",
    "first_layer_filters": "deepvideo_tf.models.first_layer",
    "stream_views": "deepvideo_tf.models.first_layer",
    "inflate_weights": "deepvideo_tf.models.inflation",
    "SlowFusionStream": "deepvideo_tf.models.streaming",
    "read_folder": "deepvideo_tf.data.annotations",
    "read_list": "deepvideo_tf.data.annotations",
    "read_csv": "deepvideo_tf.data.annotations",
    "read_ucf101": "deepvideo_tf.data.annotations",
    "read_sports1m": "deepvideo_tf.data.annotations",
    "build_shards": "deepvideo_tf.data.shards.build",
    "shard_tasks": "deepvideo_tf.data.shards.build",
    "make_shard": "deepvideo_tf.data.shards.build",
    "verify_shards": "deepvideo_tf.data.shards.build",
    "audit_splits": "deepvideo_tf.data.shards.inspection",
    "make_dataset": "deepvideo_tf.data.input.pipeline",
    "make_synthetic": "deepvideo_tf.data.synthetic",
    "HitAtK": "deepvideo_tf.metrics.hit_at_k",
    "initialize_from_clips": "deepvideo_tf.training.initialization",
    "train": "deepvideo_tf.training.train",
    "save_run": "deepvideo_tf.training.train",
    "train_and_export": "deepvideo_tf.workflows",
    "evaluate": "deepvideo_tf.evaluation.protocol",
    "load_predictor": "deepvideo_tf.formats.predictors",
    "predict_video": "deepvideo_tf.inference.prediction",
    "predict_stream": "deepvideo_tf.inference.prediction",
    "occlusion_saliency": "deepvideo_tf.visualization.saliency",
    "predict_many": "deepvideo_tf.inference.batch_prediction",
    "annotate_video": "deepvideo_tf.inference.drawing",
    "export_saved_model": "deepvideo_tf.formats.saved_model",
    "export_tflite": "deepvideo_tf.formats.tflite",
    "export_onnx": "deepvideo_tf.formats.onnx",
    "check_parity": "deepvideo_tf.formats.parity",
}

__all__ = ["__version__", "errors", "plots", *_HOMES]


def __getattr__(name):
    if name == "plots":
        return importlib.import_module("deepvideo_tf.visualization.plots")
    if name not in _HOMES:
        raise AttributeError(f"module 'deepvideo_tf' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__():
    return sorted(__all__)
