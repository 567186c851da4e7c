"""Exports a trained run as a float32 TFLite file, class names inside.

deepvideo-export-tflite --workdir=RUN --tflite_path=EXPORTS/my_model.tflite
"""

from absl import flags

from deepvideo_tf import cli

_WORKDIR = flags.DEFINE_string("workdir", None, "Required. The run's folder.", required=True)
_TFLITE_PATH = flags.DEFINE_string(
    "tflite_path", None, "Required. The file to write, ending in .tflite.", required=True
)


def main():
    cli.import_tensorflow()
    from deepvideo_tf.exporting.tflite import export_tflite

    path = export_tflite(_WORKDIR.value, _TFLITE_PATH.value)
    print(f"TFLite file: {path}")
    cli.print_next("deepvideo-predict", f"--model_path={path}", "VIDEO")


def run():
    cli.run(main)


if __name__ == "__main__":
    run()
