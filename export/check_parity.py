"""Compares exported models with the run that they come from: answers, size, speed, memory.

deepvideo-check-parity --workdir=RUN --shards_dir=SHARDS EXPORTS/my_model model.tflite model.onnx

The exit status is 1 where a model in float32 differs from the run by more than rounding (1e-5 for a SavedModel, 1e-4
for TFLite and ONNX files, and the likeliest class of every clip must be the same), or where Hit@1 of any other falls by
more than --max_hit_at_1_loss.
"""

import json
import sys
from pathlib import Path

from absl import flags

from deepvideo_tf import cli
from deepvideo_tf.storage.writes import write_text_atomically

_WORKDIR = flags.DEFINE_string("workdir", None, "Required. Folder of the run.", required=True)
_SHARDS_DIR = flags.DEFINE_string("shards_dir", None, "Required. Folder of the shards to compare on.", required=True)
_SPLIT = flags.DEFINE_enum("split", "test", ["train", "validation", "test"], "Split to compare on.")
_MAX_CLIPS = flags.DEFINE_integer(
    "max_clips", 1000, "Maximum number of clips to compare on, evenly spaced.", lower_bound=1
)
_MAX_HIT_AT_1_LOSS = flags.DEFINE_float(
    "max_hit_at_1_loss", 0.01, "Maximum loss of Hit@1, from 0 to 1.", lower_bound=0.0, upper_bound=1.0
)


def main(models):
    cli.import_tensorflow()
    from deepvideo_tf.formats.parity import THREADS, check_parity

    with cli.progress(len(THREADS) * (1 + len(models)), "measurement", "parity") as on_model:
        result = check_parity(
            _WORKDIR.value,
            models,
            _SHARDS_DIR.value,
            split=_SPLIT.value,
            max_clips=_MAX_CLIPS.value,
            max_hit_at_1_loss=_MAX_HIT_AT_1_LOSS.value,
            on_model=on_model,
        )
    _print_table(result)
    path = Path(_WORKDIR.value) / f"parity-{_SPLIT.value}.json"
    write_text_atomically(path, json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    print(f"Parity: {path}")
    broken = [f"{row['model']}: {words}" for row in result["models"] for words in row["broken"]]
    for line in broken:
        print(f"deepvideo-check-parity: error: {line}", file=sys.stderr)
    if broken:
        sys.exit(cli.FAILED)
    cli.print_next("deepvideo-predict", f"--model_path={models[-1]}", "VIDEO")


def _print_table(result):
    print(f"{result['clips']} clips of {result['split']}, their centre views; latency of one clip: median (p95)")
    print(f"{'':48}{'difference of':>20}{'same':>8}{'':>8}{'':>9}{'ms with':>16}{'ms with':>16}{'peak':>7}")
    print(
        f"{'model':28}{'format and precision':20}{'probabilities':>20}{'top 1':>8}{'Hit@1':>8}{'MB':>9}"
        f"{'1 thread':>16}{'2 threads':>16}{'MiB':>7}"
    )
    print(f"{'':48}{'largest':>10}{'mean':>10}")
    for row in result["models"]:
        latencies = "".join(
            f"{_latency(row['latency_ms'][threads]):>16}" for threads in sorted(row["latency_ms"], key=int)
        )
        print(
            f"{row['model'][-27:]:28}{_kind(row):20}{row['max_difference']:10.1e}{row['mean_difference']:10.1e}"
            f"{row['top1_agreement']:8.4f}{row['hit_at_1']:8.4f}{row['size_bytes'] / 1e6:9.2f}{latencies}"
            f"{row['peak_memory_bytes'] / 2**20:7.0f}{' broken' if row['broken'] else ''}"
        )


def _latency(latency_ms):
    return f"{latency_ms['median']:.2f} ({latency_ms['p95']:.2f})"


def _kind(row):
    ranks = (
        [str(row[name] or "-") for name in ("dense_rank", "conv_rank")] if row["dense_rank"] or row["conv_rank"] else []
    )
    precision = row["precision"].replace("dynamic_int8", "dynamic")
    return f"{row['format']} {precision}" + (f" {'/'.join(ranks)}" if ranks else "")


def run():
    cli.run(main, positional="MODEL...")


if __name__ == "__main__":
    run()
