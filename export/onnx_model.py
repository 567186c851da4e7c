"""Exports a trained run as a float32 ONNX file, class names inside.

deepvideo-export-onnx --workdir=RUN --onnx_path=EXPORTS/my_model.onnx
"""

from absl import flags

from deepvideo_tf import cli
from deepvideo_tf.storage.paths import is_remote

_WORKDIR = flags.DEFINE_string("workdir", None, "Required. The run's folder.", required=True)
_ONNX_PATH = flags.DEFINE_string("onnx_path", None, "Required. The file to write, ending in .onnx.", required=True)


def main():
    cli.import_tensorflow()
    from deepvideo_tf.formats.onnx import export_onnx

    with cli.quiet_libraries():
        path = export_onnx(_WORKDIR.value, _ONNX_PATH.value)
    print(f"ONNX file: {path}")
    if not is_remote(path) and not is_remote(_WORKDIR.value):
        cli.print_next("deepvideo-check-parity", f"--workdir={_WORKDIR.value}", "--shards_dir=SHARDS", path)


def run():
    cli.run(main, in_buckets=("workdir", "onnx_path"))


if __name__ == "__main__":
    run()
