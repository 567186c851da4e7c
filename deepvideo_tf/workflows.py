"""Whole jobs in one call."""

from typing import Any

from deepvideo_tf.config import TrainConfig
from deepvideo_tf.formats.export import export_run
from deepvideo_tf.storage.paths import AnyPath
from deepvideo_tf.training.train import train


def train_and_export(config: TrainConfig, shards_dir: Any, workdir: Any, **options: Any) -> AnyPath | None:
    """Train a model, then export it to `workdir/saved_model/<version>`.

    A finished run whose best checkpoint is exported is left as it is.

    Args:
        config: what the run is.
        shards_dir: the folder of shards.
        workdir: the run's folder.
        **options: more arguments of `train`.

    Returns:
        The version folder of the SavedModel; None if the model has none, or if another process writes the run.

    Raises:
        DeepVideoError: as `train` and `export_saved_model` do.
        KeyboardInterrupt: the run was asked to stop, and is saved.
    """
    return export_run(workdir) if train(config, shards_dir, workdir, **options) else None
