"""What all exports share: the outputs, the labels, and the card with what prediction needs and a user should know."""

import contextlib
import json
import platform
from collections.abc import Iterator
from importlib import metadata
from typing import Any

import keras
import tensorflow as tf

import deepvideo_tf
from deepvideo_tf.config import to_json
from deepvideo_tf.errors import ModelFileError, first_line
from deepvideo_tf.models.description import describe
from deepvideo_tf.models.registry import model_info
from deepvideo_tf.runs.run import Run, load_run
from deepvideo_tf.storage.paths import AnyPath, PathLike

MAX_FILE_GIB = 2
LABELS_NAME = "labels.txt"
PAPER = "Karpathy et al., Large-scale Video Classification with Convolutional Neural Networks, CVPR 2014"


def exportable_run(workdir: PathLike) -> Run:
    """Load a run that is to be exported; raise ModelFileError if its model cannot be."""
    run = load_run(workdir)
    obstacle = model_info(run.card.model).export_obstacle
    if obstacle is not None:
        raise ModelFileError(
            f"{run.checkpoint.parent.parent}: {run.card.model} cannot be exported, since {obstacle}: predict and "
            "evaluate with the run itself"
        )
    return run


@contextlib.contextmanager
def reported(path: AnyPath | str) -> Iterator[None]:
    """Raise ModelFileError for whatever a system or TensorFlow raises while a model is written to `path`."""
    try:
        yield
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be written: {error.strerror}") from None
    except tf.errors.OpError as error:
        raise ModelFileError(f"{path}: cannot be written: {first_line(error.message)}") from None


def card_text(run: Run, model: keras.Model, **about: Any) -> str:
    """Return the model card as JSON.

    Args:
        run: the trained run.
        model: the `keras.Model` that is exported.
        **about: more about this file: `format`, `precision` and the like.

    Returns:
        Text: `model` is the `ModelCard`, all that prediction reads. Besides: `about`; `checkpoint`, the file that the
        weights come from; `paper`; `training`, the run's configuration; `data`, the shards it was trained on, by their
        hash; `metrics_of_the_run`, in float32, from the evaluations of this checkpoint in its folder (`check_parity`
        measures what an export of less precision or rank loses); `sizes`; `versions`.
    """
    layers = describe(model)
    data = {
        "model": to_json(run.card),
        **about,
        "checkpoint": run.checkpoint.name,
        "paper": {"title": PAPER, "section": model_info(run.card.model).section},
        "training": to_json(run.config),
        "data": {"shards_sha256": run.shards},
        "metrics_of_the_run": _metrics(run),
        "sizes": {
            "parameters": sum(layer.parameters for layer in layers),
            "multiply_adds_per_clip": sum(layer.multiply_adds for layer in layers),
        },
        "versions": {
            "python": platform.python_version(),
            "deepvideo-tf": deepvideo_tf.__version__,
            "keras": keras.__version__,
            "tensorflow": metadata.version("tensorflow"),
        },
    }
    return json.dumps(data, indent=1, ensure_ascii=False) + "\n"


def labels_text(run: Run) -> str:
    """Return the class names, one per line, in the order of the model's outputs."""
    return "".join(f"{name}\n" for name in run.card.classes)


def with_probabilities(run: Run, model: keras.Model | None = None) -> keras.Model:
    """Return a model whose output is a dict of `probabilities` instead of logits, so that every format names it so.

    Args:
        run: the trained run, whose loss says what its logits mean.
        model: another form of its model; None for its own.

    Returns:
        Keras model of the same input; `probabilities` are float32 `[batch, class]`.
    """
    model = run.model if model is None else model
    probabilities = keras.layers.Activation(run.card.loss, dtype="float32", name="probabilities")(model.output)
    return keras.Model(model.input, {"probabilities": probabilities}, name=model.name)


def check_size(model: keras.Model, path: AnyPath) -> None:
    """Raise an error for a model that one file cannot hold: TFLite's and ONNX's offsets end at 2 GiB.

    Args:
        model: the `keras.Model` in float32.
        path: the file that it is for.

    Raises:
        ModelFileError: it is too large.
    """
    size_gib = model.count_params() * 4 / 2**30
    if size_gib >= MAX_FILE_GIB:
        raise ModelFileError(
            f"{path}: such a file holds less than {MAX_FILE_GIB} GiB, the weights alone take {size_gib:.1f} GiB: "
            "export a SavedModel, a narrower model or one of less rank"
        )


def _metrics(run: Run) -> dict[str, dict[str, Any]]:
    """Return, by split, the results of the evaluations of this checkpoint in the run's folder."""
    metrics = {}
    paths: list[AnyPath] = [*run.checkpoint.parent.parent.glob("evaluation-*.json")]
    for path in sorted(paths, key=str):
        try:
            result = json.loads(path.read_text(encoding="utf-8"))
            if result["checkpoints"] != [run.checkpoint.name]:
                continue
            names = ("videos", "clips", "views", "clip_hit_at_1", "video_hit_at_1", "map", "intervals")
            metrics[result["split"]] = {name: result[name] for name in names}
        except (OSError, ValueError, KeyError, TypeError):
            continue  # another version's, or incomplete: not a reason for an export to fail
    return metrics
