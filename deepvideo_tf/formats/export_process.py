"""Exporting a run under TensorFlow, for processes whose Keras runs on another backend: a SavedModel is TensorFlow's.

`python -m deepvideo_tf.formats.export_process WORKDIR EXPORT_DIR` prints the version folder in its last line.
"""

import os
import subprocess
import sys

from deepvideo_tf.errors import DeepVideoError, ModelFileError
from deepvideo_tf.storage.paths import AnyPath, PathLike, to_path


def export_in_process(workdir: PathLike, export_dir: PathLike) -> AnyPath:
    """Do what `export_saved_model` does, in a process of its own.

    Args:
        workdir: the run's folder.
        export_dir: the folder of versions.

    Returns:
        Path of the version folder.

    Raises:
        ModelFileError: the run cannot be loaded or exported, or the folder cannot be written.
    """
    environment = os.environ | {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-P", "-m", "deepvideo_tf.formats.export_process", str(workdir), str(export_dir)]
    result = subprocess.run(
        command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if result.returncode:
        reason = result.stderr.strip() or f"status {result.returncode}"
        raise ModelFileError(f"{export_dir}: no SavedModel can be made: {reason.splitlines()[-1]}")
    return to_path(result.stdout.splitlines()[-1])


if __name__ == "__main__":
    from deepvideo_tf.formats.saved_model import export_saved_model

    try:
        sys.stdout.write(f"\n{export_saved_model(*sys.argv[1:])}\n")
    except DeepVideoError as error:
        sys.exit(" ".join(str(error).split()))
