"""The public names, `dv.*`, one line each: `__init__.py` imports them from here when they are first used."""

from deepvideo_tf import errors as errors
from deepvideo_tf.config import ClipSpec as ClipSpec
from deepvideo_tf.config import DecodeLimits as DecodeLimits
from deepvideo_tf.config import HistogramConfig as HistogramConfig
from deepvideo_tf.config import ShardSpec as ShardSpec
from deepvideo_tf.config import TrainConfig as TrainConfig
from deepvideo_tf.data.annotations import read_csv as read_csv
from deepvideo_tf.data.annotations import read_folder as read_folder
from deepvideo_tf.data.annotations import read_list as read_list
from deepvideo_tf.data.annotations import read_sports1m as read_sports1m
from deepvideo_tf.data.annotations import read_ucf101 as read_ucf101
from deepvideo_tf.data.input.pipeline import make_dataset as make_dataset
from deepvideo_tf.data.shards.build import build_shards as build_shards
from deepvideo_tf.data.shards.build import make_shard as make_shard
from deepvideo_tf.data.shards.build import shard_tasks as shard_tasks
from deepvideo_tf.data.shards.build import verify_shards as verify_shards
from deepvideo_tf.data.shards.inspection import audit_splits as audit_splits
from deepvideo_tf.data.synthetic import make_synthetic as make_synthetic
from deepvideo_tf.evaluation.protocol import evaluate as evaluate
from deepvideo_tf.formats.onnx import export_onnx as export_onnx
from deepvideo_tf.formats.parity import check_parity as check_parity
from deepvideo_tf.formats.predictors import load_predictor as load_predictor
from deepvideo_tf.formats.saved_model import export_saved_model as export_saved_model
from deepvideo_tf.formats.tflite import export_tflite as export_tflite
from deepvideo_tf.inference.batch_prediction import predict_many as predict_many
from deepvideo_tf.inference.drawing import annotate_video as annotate_video
from deepvideo_tf.inference.prediction import predict_stream as predict_stream
from deepvideo_tf.inference.prediction import predict_video as predict_video
from deepvideo_tf.metrics.hit_at_k import HitAtK as HitAtK
from deepvideo_tf.models.description import describe as describe
from deepvideo_tf.models.first_layer import first_layer_filters as first_layer_filters
from deepvideo_tf.models.first_layer import stream_views as stream_views
from deepvideo_tf.models.fusion import early_fusion as early_fusion
from deepvideo_tf.models.fusion import late_fusion as late_fusion
from deepvideo_tf.models.fusion import single_frame as single_frame
from deepvideo_tf.models.fusion import slow_fusion as slow_fusion
from deepvideo_tf.models.inflation import inflate_weights as inflate_weights
from deepvideo_tf.models.multires import multires as multires
from deepvideo_tf.models.registry import build_model as build_model
from deepvideo_tf.models.streaming import SlowFusionStream as SlowFusionStream
from deepvideo_tf.training.initialization import initialize_from_clips as initialize_from_clips
from deepvideo_tf.training.train import save_run as save_run
from deepvideo_tf.training.train import train as train
from deepvideo_tf.visualization import plots as plots
from deepvideo_tf.visualization.saliency import occlusion_saliency as occlusion_saliency
from deepvideo_tf.workflows import train_and_export as train_and_export

__version__: str
__all__: list[str]
