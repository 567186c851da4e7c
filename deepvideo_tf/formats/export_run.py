"""The export that training ends with."""

import keras

from deepvideo_tf.formats.export_process import export_in_process
from deepvideo_tf.formats.saved_model import export_saved_model, exported_from, latest_version
from deepvideo_tf.models.registry import model_info
from deepvideo_tf.runs.checkpoints import find_checkpoint
from deepvideo_tf.runs.state import read_description
from deepvideo_tf.storage.paths import AnyPath, PathLike, to_path


def export_run(workdir: PathLike) -> AnyPath | None:
    """Export a run to `workdir/saved_model/<version>`, unless its best checkpoint is exported already.

    Args:
        workdir: the run's folder.

    Returns:
        The version folder; None if there is no SavedModel of such a model.

    Raises:
        ModelFileError: the run cannot be loaded or exported, or the folder cannot be written.
    """
    checkpoint = find_checkpoint(workdir, best=True)
    if model_info(read_description(checkpoint).config.model).export_obstacle is not None:
        return None
    export_dir = to_path(workdir) / "saved_model"
    exported = latest_version(export_dir)
    if exported is not None and exported_from(exported) == checkpoint.name:
        return exported
    # A SavedModel is TensorFlow's: another backend's run is exported by a process of its own.
    export = export_saved_model if keras.backend.backend() == "tensorflow" else export_in_process
    return export(workdir, export_dir)
