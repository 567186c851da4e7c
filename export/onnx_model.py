"""Exports a trained run as a float32 ONNX file, class names inside.

deepvideo-export-onnx --workdir=RUN --onnx_path=EXPORTS/my_model.onnx
"""

from absl import flags

from deepvideo_tf import cli

_WORKDIR = flags.DEFINE_string("workdir", None, "Required. Folder of the run.", required=True)
_ONNX_PATH = flags.DEFINE_string("onnx_path", None, "Required. File to write, ending in .onnx.", required=True)


def main():
    cli.import_tensorflow()
    from deepvideo_tf.formats.onnx import export_onnx

    with cli.quiet_libraries():
        path = export_onnx(_WORKDIR.value, _ONNX_PATH.value)
    print(f"ONNX file: {path}")
    command = ("deepvideo-check-parity", f"--workdir={_WORKDIR.value}", "--shards_dir=SHARDS", path)
    cli.print_next(*command, needs_disk=(path, _WORKDIR.value))


def run():
    cli.run(main, in_buckets=("workdir", "onnx_path"))


if __name__ == "__main__":
    run()
