r"""Classifies many videos with a trained run, a SavedModel, a TFLite or an ONNX file, on all cores or on a cluster.

  deepvideo-predict-many --model_path=model.tflite --video_root=VIDEOS --predictions_dir=PREDICTIONS
  deepvideo-predict-many --model_path=RUN --video_root=VIDEOS --video_list=LIST --num_shards=1000 \
    --predictions_dir=PREDICTIONS --engine=ray --ray_address=HOST:6379

Looks at all videos in and below VIDEOS, or at those of LIST, a path below VIDEOS a line. Their list is cut into
--num_shards parts; the answers to each are one file, predictions-00000-of-00064.jsonl, a line of JSON a video, in the
order of the list. A video that cannot be decoded has its reason there, and is listed in predictions-manifest.json,
which is written last. An interrupted job goes on where it stopped when the same command is run again.

With --engine=ray the nodes of the cluster have to see the model, VIDEOS and PREDICTIONS under the same names.
"""

from absl import flags
from tqdm.contrib.logging import logging_redirect_tqdm

from deepvideo_tf import cli
from deepvideo_tf.config import DecodeLimits, ShardSpec
from deepvideo_tf.data.annotations import read_video_paths
from deepvideo_tf.errors import ShardError
from deepvideo_tf.execution.engines import ENGINES, check_engine

_MODEL_PATH = flags.DEFINE_string(
    "model_path", None, "Required. Folder of a run, SavedModel, .tflite or .onnx file.", required=True
)
_VIDEO_ROOT = flags.DEFINE_string("video_root", None, "Required. Folder of the videos.", required=True)
_VIDEO_LIST = flags.DEFINE_string(
    "video_list", None, "File with one path below --video_root per line; by default all videos."
)
_PREDICTIONS_DIR = flags.DEFINE_string(
    "predictions_dir", None, "Required. Folder to write the predictions to.", required=True
)
_NUM_SHARDS = flags.DEFINE_integer(
    "num_shards", 64, "Number of files of predictions, at most one per video.", lower_bound=1
)
_TOP = flags.DEFINE_integer("top", 5, "Number of classes listed for each video.", lower_bound=1)
_CLIPS_PER_VIDEO = cli.ConfigFlags(
    ShardSpec,
    only=("clips_per_video",),
    changes={"clips_per_video": {"default": None, "lower_bound": 1, "note": "By default as in training."}},
)["clips_per_video"]
_NUM_VIEWS = flags.DEFINE_integer(
    "num_views", 1, "Views of each clip: crops and mirror images.", lower_bound=1, upper_bound=5
)
_LIMITS = cli.ConfigFlags(DecodeLimits, only=("decode_timeout_s",))
_NUM_WORKERS = flags.DEFINE_integer(
    "num_workers",
    None,
    "Number of videos processed in parallel, one core each; by default one per processor.",
    lower_bound=1,
)
_ENGINE = flags.DEFINE_enum("engine", "local", ENGINES, "Where the work is done: on this machine or by Ray.")
_RAY_ADDRESS = flags.DEFINE_string(
    "ray_address", None, "With --engine=ray: HOST:PORT, ray://HOST:PORT or auto; by default Ray on this machine."
)


def main():
    from deepvideo_tf.formats.predictors import find_model
    from deepvideo_tf.inference.batch_prediction import MANIFEST_NAME, predict_many

    check_engine(_ENGINE.value, _RAY_ADDRESS.value)
    limits = _LIMITS.config()
    kind, _ = find_model(_MODEL_PATH.value)
    videos = read_video_paths(_VIDEO_ROOT.value, _VIDEO_LIST.value)
    if kind in ("run", "saved_model"):
        cli.import_tensorflow()
    with (
        cli.progress(len(videos), "video", "predicting") as on_video,
        logging_redirect_tqdm(loggers=[cli.library_logger()]),
    ):
        manifest = predict_many(
            _MODEL_PATH.value,
            _VIDEO_ROOT.value,
            videos,
            _PREDICTIONS_DIR.value,
            num_shards=_NUM_SHARDS.value,
            top=_TOP.value,
            clips_per_video=_CLIPS_PER_VIDEO.value,
            num_views=_NUM_VIEWS.value,
            limits=limits,
            num_workers=_NUM_WORKERS.value,
            engine=_ENGINE.value,
            ray_address=_RAY_ADDRESS.value,
            on_video=on_video,
        )
    bad = len(manifest["bad"])
    print(f"{manifest['videos'] - bad} of {manifest['videos']} videos classified, {len(manifest['shards'])} shards")
    if bad:
        print(f"{bad} videos are bad; {_PREDICTIONS_DIR.value}/{MANIFEST_NAME} lists them with their reasons")
    print(f"Predictions: {_PREDICTIONS_DIR.value}")
    if bad == manifest["videos"]:
        raise ShardError(f"{_PREDICTIONS_DIR.value}: none of the {bad} videos can be classified")


def run():
    cli.run(main)


if __name__ == "__main__":
    run()
