"""Evaluates a trained run on shards by the paper's protocol: clips x views averaged, Hit@k of clips and videos.

  deepvideo-evaluate --workdir=RUN --shards_dir=SHARDS

Writes RUN/evaluation-<split>.json.
"""

import json
from pathlib import Path

from absl import flags

from deepvideo_tf import cli
from deepvideo_tf.files import write_text_atomically

_WORKDIR = flags.DEFINE_string("workdir", None, "Required. The run's folder.", required=True)
_SHARDS_DIR = flags.DEFINE_string("shards_dir", None, "Required. The folder of shards.", required=True)
_SPLIT = flags.DEFINE_enum("split", "test", ["train", "validation", "test"], "Which shards.")
_NUM_VIEWS = flags.DEFINE_integer("num_views", 4, "Crops and mirrorings of each clip.", lower_bound=1, upper_bound=5)
_MAX_BAD_FRACTION = flags.DEFINE_float(
    "max_bad_fraction", 0.01, "The part of the stored clips that may be damaged; above it evaluation fails."
)


def main():
    from deepvideo_tf.data.shards import read_manifest

    manifest = read_manifest(_SHARDS_DIR.value, _SPLIT.value)  # before TensorFlow takes its seconds
    cli.import_tensorflow()
    from deepvideo_tf.evaluation import evaluate

    with cli.progress(manifest.records, "clip", _SPLIT.value) as on_batch:
        result = evaluate(
            _WORKDIR.value,
            _SHARDS_DIR.value,
            split=_SPLIT.value,
            num_views=_NUM_VIEWS.value,
            max_bad_fraction=_MAX_BAD_FRACTION.value,
            on_batch=on_batch,
        )
    _print_result(result)
    path = Path(_WORKDIR.value) / f"evaluation-{_SPLIT.value}.json"
    write_text_atomically(path, json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    print(f"Evaluation: {path}")
    cli.print_next("deepvideo-predict", f"--model_path={_WORKDIR.value}", "VIDEO")


def _print_result(result):
    print(f"{result['split']}: {result['videos']} videos, {result['clips']} clips, {result['views']} views a clip")
    if result["skipped_clips"]:
        print(f"  skipped {result['skipped_clips']} damaged clips")
    for name, value in result.items():
        if "hit_at" in name:
            print(f"  {name.replace('_', ' ').replace('hit at ', 'Hit@'):<12} {value:.3f}")
    print(f"  chance       {1 / len(result['classes']):.3f}")
    for name, of_class in result["classes"].items():
        if of_class["videos"]:
            print(f"  {of_class['video_hit_at_1']:.3f} of {of_class['videos']:>4} videos of {name}")


def run():
    cli.run(main)


if __name__ == "__main__":
    run()
