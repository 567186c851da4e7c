"""Exports a trained run as the next version of a SavedModel, class names inside.

deepvideo-export-saved-model --workdir=RUN --export_dir=EXPORTS/my_model
"""

from absl import flags

from deepvideo_tf import cli

_WORKDIR = flags.DEFINE_string("workdir", None, "Required. Folder of the run.", required=True)
_EXPORT_DIR = flags.DEFINE_string("export_dir", None, "Required. Folder of versions; one is added.", required=True)
_PRECISION = flags.DEFINE_enum(
    "precision",
    "float32",
    ["float32", "bfloat16"],
    "bfloat16 takes half the size; it is faster only on processors that compute in it.",
)


def main():
    cli.import_tensorflow()
    from deepvideo_tf.formats.saved_model import export_saved_model

    path = export_saved_model(_WORKDIR.value, _EXPORT_DIR.value, precision=_PRECISION.value)
    print(f"SavedModel: {path}")
    cli.print_next("deepvideo-predict", f"--model_path={path}", "VIDEO")
    cli.print_next("deepvideo-serve", f"--export_dir={_EXPORT_DIR.value}", needs_disk=(path,))


def run():
    cli.run(main, in_buckets=("workdir", "export_dir"))


if __name__ == "__main__":
    run()
