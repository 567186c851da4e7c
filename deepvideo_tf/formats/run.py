"""A run's own folder as a model to predict with."""

from deepvideo_tf.errors import ModelFileError, first_line
from deepvideo_tf.formats.base import Format, Predictor
from deepvideo_tf.storage.paths import AnyPath


def find(path: AnyPath) -> AnyPath | None:
    """Return the path if it is a run's folder, else None."""
    return path if (path / "checkpoints").is_dir() else None


def _load(path: AnyPath, num_threads: int) -> Predictor:
    """Load a run's best checkpoint. TensorFlow's threads belong to the process."""
    del num_threads
    try:
        from deepvideo_tf.metrics.probabilities import probabilities
        from deepvideo_tf.runs.run import load_run
    except ImportError as error:
        raise ModelFileError(f"{path}: reading runs needs TensorFlow and Keras: {first_line(error)}") from None

    run = load_run(path)
    about = {"format": FORMAT.title, "precision": "float32", "checkpoint": run.checkpoint.name}
    return Predictor(
        run.card, about, lambda clips: probabilities(run.card, run.model.predict_on_batch(run.inputs(clips)))
    )


FORMAT = Format("run", "a run's folder", find, _load, uses_tensorflow=True)
