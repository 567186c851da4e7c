"""Classifies videos with a trained run, a SavedModel, a TFLite or an ONNX file.

  deepvideo-predict --model_path=RUN a.mp4 b.mp4
  deepvideo-predict --model_path=model.tflite --json FOLDER 'more/*.webm'
  deepvideo-predict --model_path=model.tflite --annotate=COPIES a.mp4
  deepvideo-predict --model_path=model.tflite --stream a.mp4
  deepvideo-predict --model_path=model.tflite --stream 0

A folder stands for all videos in and below it, a pattern for what it matches. --annotate also writes a copy of each
video with the running likeliest classes drawn on it. --stream answers while the video runs, from a file or from the
camera of that number, until it ends or Ctrl-C.

A file that cannot be decoded gets a line of its own on standard error, and with --json one on standard output; the
others are classified, and the exit status is 1. TFLite files need no TensorFlow.
"""

import json
import os
import sys
from pathlib import Path

from absl import flags

from deepvideo_tf import cli
from deepvideo_tf.config import DecodeLimits, ShardSpec, check_number
from deepvideo_tf.data.annotations import find_videos
from deepvideo_tf.errors import BadVideoError, ConfigError

_MODEL_PATH = flags.DEFINE_string(
    "model_path", None, "Required. Folder of a run, SavedModel, .tflite or .onnx file.", required=True
)
_JSON = flags.DEFINE_bool("json", False, "Print a line of JSON for each video, or with --stream for each prediction.")
_TOP = flags.DEFINE_integer("top", 5, "Number of classes shown.", lower_bound=1)
_CLIPS_PER_VIDEO = cli.ConfigFlags(
    ShardSpec,
    only=("clips_per_video",),
    changes={"clips_per_video": {"default": None, "lower_bound": 1, "note": "By default as in training."}},
)["clips_per_video"]
_NUM_VIEWS = flags.DEFINE_integer(
    "num_views", 1, "Views of each clip: crops and mirror images.", lower_bound=1, upper_bound=5
)
_ANNOTATE = flags.DEFINE_string("annotate", None, "Folder for copies of the videos with their classes drawn on them.")
_STREAM = flags.DEFINE_bool("stream", False, "Predict while the video plays, from a file or a camera's number.")
_HOP_S = flags.DEFINE_float("hop_s", 0.5, "Seconds from one prediction of --stream or --annotate to the next, above 0.")
_LIMITS = cli.ConfigFlags(
    DecodeLimits,
    only=("decode_timeout_s",),
    changes={"decode_timeout_s": {"note": "It applies neither to --stream nor to annotated copies."}},
)


def main(names):
    from deepvideo_tf.formats.predictors import find_model, load_predictor

    if _STREAM.value and _ANNOTATE.value:
        raise ConfigError("--stream and --annotate: one of them at a time")
    if _STREAM.value and (_NUM_VIEWS.value != 1 or _CLIPS_PER_VIDEO.value is not None):
        raise ConfigError(
            "--stream looks at the centre of every clip: --num_views and --clips_per_video do not go with it"
        )
    check_number("hop_s", _HOP_S.value, above=0)
    is_camera = _STREAM.value and len(names) == 1 and names[0].isdecimal() and not Path(names[0]).exists()
    videos = [] if is_camera else find_videos(names)
    copies = _copies(videos) if _ANNOTATE.value else {}
    kind, _ = find_model(_MODEL_PATH.value)
    if kind in ("run", "saved_model"):
        cli.import_tensorflow()
    with cli.quiet_libraries():
        predictor = load_predictor(_MODEL_PATH.value)
    if is_camera:
        from deepvideo_tf.data.video.cameras import camera_frames

        _print_stream(predictor, f"camera {names[0]}", camera_frames(int(names[0])))
    bad = sum(not _answered(predictor, video, copies.get(video)) for video in videos)
    if bad and len(videos) > 1:
        print(f"deepvideo-predict: {bad} of {len(videos)} videos could not be classified", file=sys.stderr)
    if bad:
        sys.exit(cli.FAILED)


def _copies(videos):
    """By video, the path of its annotated copy."""
    copies = {video: Path(_ANNOTATE.value) / f"{Path(video).stem}.mp4" for video in videos}
    for video, copy in copies.items():
        if copy.exists() and os.path.exists(video) and copy.samefile(video):
            raise ConfigError(f"--annotate: the copy of {video} would replace it")
    first = {copy: video for video, copy in reversed(copies.items())}
    for video, copy in copies.items():
        if first[copy] != video:
            raise ConfigError(f"--annotate: {first[copy]} and {video} would both be copied to {copy}")
    return copies


def _answered(predictor, video, copy):
    """Prints what a video shows, or why not; whether it could be classified."""
    from deepvideo_tf.data.video.decode import read_frames

    limits = _LIMITS.config()
    try:
        if _STREAM.value:
            if not _JSON.value:
                print(video, flush=True)
            _print_stream(predictor, video, read_frames(video, limits=limits))
        else:
            _print_video(predictor, video, copy, limits)
    except BadVideoError as error:
        print(f"deepvideo-predict: error: {' '.join(str(error).split())}", file=sys.stderr)
        if _JSON.value:
            _print_json(video=video, error=error.reason)
        return False
    return True


def _print_stream(predictor, name, frames):
    from deepvideo_tf.inference.prediction import predict_stream

    for moment in predict_stream(predictor, frames, name=name, hop_s=_HOP_S.value):
        if not moment.is_new:
            continue
        top = list(moment.classes.items())[: _TOP.value]
        if _JSON.value:
            _print_json(video=name, time_s=round(moment.frame.time_s, 3), classes=_rows(top))
        else:
            print(f"{moment.frame.time_s:8.2f} s  " + "  ".join(f"{p:.3f} {name}" for name, p in top), flush=True)


def _print_video(predictor, video, copy, limits):
    from deepvideo_tf.inference.drawing import annotate_video
    from deepvideo_tf.inference.prediction import predict_video

    probabilities = predict_video(
        predictor, video, clips_per_video=_CLIPS_PER_VIDEO.value, num_views=_NUM_VIEWS.value, limits=limits
    )
    if copy:
        annotate_video(predictor, video, copy, top=_TOP.value, hop_s=_HOP_S.value, limits=limits)
    top = list(probabilities.items())[: _TOP.value]
    if _JSON.value:
        _print_json(video=video, classes=_rows(top), **({"annotated": str(copy)} if copy else {}))
        return
    print(f"{video} -> {copy}" if copy else video)
    for name, probability in top:
        print(f"  {probability:.3f} {name}", flush=True)


def _rows(top):
    return [{"class": name, "probability": round(probability, 6)} for name, probability in top]


def _print_json(**data):
    print(json.dumps(data), flush=True)  # ASCII alone: names of files may be no text in any encoding


def run():
    cli.run(main, positional="VIDEO...", in_buckets=("model_path",))


if __name__ == "__main__":
    run()
