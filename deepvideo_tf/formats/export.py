"""Exporting a run in a format that is given by its name, and the export that training ends with."""

import importlib
from typing import Any

import keras

from deepvideo_tf.config import check_choice
from deepvideo_tf.errors import ConfigError
from deepvideo_tf.formats import FORMATS
from deepvideo_tf.formats.export_process import export_in_process
from deepvideo_tf.formats.saved_model import export_saved_model, exported_from, latest_version
from deepvideo_tf.models.registry import model_info
from deepvideo_tf.runs.checkpoints import find_checkpoint
from deepvideo_tf.runs.state import read_description
from deepvideo_tf.storage.paths import AnyPath, PathLike, to_path


def export_model(workdir: PathLike, path: PathLike, format_name: str, **options: Any) -> AnyPath:
    """Export a run in any of the formats.

    Args:
        workdir: the run's folder.
        path: the file to write; of `saved_model`, the folder of versions.
        format_name: one of `formats.FORMATS`.
        **options: of the format's own export function.

    Returns:
        Path of the exported model.

    Raises:
        ConfigError: there is no such format, or models are not exported to it, or an option is outside its range.
        ModelFileError: the run cannot be loaded or exported, or the model cannot be written.
    """
    check_choice("format_name", format_name, FORMATS)
    export = importlib.import_module(FORMATS[format_name]).FORMAT.export
    if export is None:
        raise ConfigError(f"format_name must be a format that models are exported to. Received: {format_name!r}")
    return export(workdir, path, **options)


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
