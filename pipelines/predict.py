"""Classifies video files with a trained run, a SavedModel or a TFLite file.

  deepvideo-predict --model_path=RUN a.mp4 b.mp4
  deepvideo-predict --model_path=model.tflite --json a.mp4

A file that cannot be decoded gets a line of its own on standard error; the others are classified, and the exit status
is 1.
"""

import json
import sys

from absl import flags

from deepvideo_tf import cli
from deepvideo_tf.config import DecodeLimits
from deepvideo_tf.errors import BadVideoError

_MODEL_PATH = flags.DEFINE_string(
    "model_path", None, "Required. A run's folder, a SavedModel or a .tflite file.", required=True
)
_JSON = flags.DEFINE_bool("json", False, "Print a line of JSON for each video.")
_TOP = flags.DEFINE_integer("top", 5, "Classes shown of each video.", lower_bound=1)
_CLIPS_PER_VIDEO = flags.DEFINE_integer(
    "clips_per_video", None, "Clips looked at; by default as many as in training.", lower_bound=1
)
_NUM_VIEWS = flags.DEFINE_integer("num_views", 1, "Crops and mirrorings of each clip.", lower_bound=1, upper_bound=5)
_DECODE_TIMEOUT_S = flags.DEFINE_float("decode_timeout_s", 60.0, "Seconds that decoding one video may take.")


def main(videos):
    from deepvideo_tf.prediction import predict_video
    from deepvideo_tf.predictors import find_model, load_predictor

    kind, _ = find_model(_MODEL_PATH.value)
    if kind in ("run", "saved_model"):
        cli.import_tensorflow()
    with cli.quiet_libraries():
        predictor = load_predictor(_MODEL_PATH.value)
    bad = 0
    for video in videos:
        try:
            probabilities = predict_video(
                predictor,
                video,
                clips_per_video=_CLIPS_PER_VIDEO.value,
                num_views=_NUM_VIEWS.value,
                limits=DecodeLimits(decode_timeout_s=_DECODE_TIMEOUT_S.value),
            )
        except BadVideoError as error:
            bad += 1
            print(f"deepvideo-predict: error: {error}", file=sys.stderr)
            continue
        _print_video(video, list(probabilities.items())[: _TOP.value])
    if bad and len(videos) > 1:
        print(f"deepvideo-predict: {bad} of {len(videos)} videos could not be classified", file=sys.stderr)
    if bad:
        sys.exit(cli.FAILED)


def _print_video(video, top):
    if _JSON.value:
        classes = [{"class": name, "probability": round(probability, 6)} for name, probability in top]
        print(json.dumps({"video": video, "classes": classes}, ensure_ascii=False), flush=True)
        return
    print(video)
    for name, probability in top:
        print(f"  {probability:.3f} {name}", flush=True)


def run():
    cli.run(main, positional="VIDEO...")


if __name__ == "__main__":
    run()
