r"""Exports a trained run as a TFLite file, class names inside.

deepvideo-export-tflite --workdir=RUN --tflite_path=EXPORTS/my_model.tflite

The smallest and fastest file for a phone, a browser or a small machine, fitted to clips of the training shards:

deepvideo-export-tflite --workdir=RUN --tflite_path=EXPORTS/fast.tflite --quantization=dynamic_int8 \
  --dense_rank=64 --conv_rank=96 --shards_dir=SHARDS

What that costs in accuracy, deepvideo-check-parity tells.
"""

from absl import flags

from deepvideo_tf import cli

_WORKDIR = flags.DEFINE_string("workdir", None, "Required. Folder of the run.", required=True)
_TFLITE_PATH = flags.DEFINE_string("tflite_path", None, "Required. File to write, ending in .tflite.", required=True)
_QUANTIZATION = flags.DEFINE_enum(
    "quantization",
    "float32",
    ["float32", "float16", "dynamic_int8", "int8"],
    "float16: weights take half the size. dynamic_int8: weights take a quarter; fastest on most processors. int8: "
    "activations too, with ranges from the shards; for hardware that supports nothing else.",
)
_DENSE_RANK = flags.DEFINE_integer(
    "dense_rank", None, "Rank to reduce the matrices of the hidden dense layers to.", lower_bound=1
)
_CONV_RANK = flags.DEFINE_integer(
    "conv_rank", None, "Rank to reduce all convolutions except the first to.", lower_bound=1
)
_SHARDS_DIR = flags.DEFINE_string(
    "shards_dir", None, "Folder of the shards whose training split int8 and ranks are fitted to."
)


def main():
    cli.import_tensorflow()
    from deepvideo_tf.formats.tflite import export_tflite

    with cli.quiet_libraries():
        path = export_tflite(
            _WORKDIR.value,
            _TFLITE_PATH.value,
            quantization=_QUANTIZATION.value,
            dense_rank=_DENSE_RANK.value,
            conv_rank=_CONV_RANK.value,
            shards_dir=_SHARDS_DIR.value,
        )
    print(f"TFLite file: {path}")
    shards = f"--shards_dir={_SHARDS_DIR.value or 'SHARDS'}"
    command = ("deepvideo-check-parity", f"--workdir={_WORKDIR.value}", shards, path)
    cli.print_next(*command, needs_disk=(path, _WORKDIR.value))


def run():
    cli.run(main, in_buckets=("workdir", "tflite_path", "shards_dir"))


if __name__ == "__main__":
    run()
