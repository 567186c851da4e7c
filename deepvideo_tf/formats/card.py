"""What all formats share: the outputs, the labels, and the card with what prediction needs and a user should know."""

import json
import platform
from importlib import metadata

import keras

import deepvideo_tf
from deepvideo_tf.config import FEATURE_HISTOGRAMS, FUSIONS, to_json
from deepvideo_tf.errors import ModelFileError
from deepvideo_tf.models.description import describe
from deepvideo_tf.runs.run import Run
from deepvideo_tf.storage.paths import to_path

MAX_FILE_GIB = 2
LABELS_NAME = "labels.txt"
PAPER = "Karpathy et al., Large-scale Video Classification with Convolutional Neural Networks, CVPR 2014"


def card_text(run: Run, model, **about):
    """The model card as JSON.

    Args:
        run: the trained run.
        model: the `keras.Model` that is exported.
        **about: what else there is to say of this file: `format`, `precision` and the like.

    Returns:
        Text: `model` is the `ModelCard`, all that prediction reads. Besides: `about`; `checkpoint`, the file that the
        weights come from; `paper`; `training`, the run's configuration; `data`, the shards it was trained on, by their
        hash; `metrics_of_the_run`, in float32, from the evaluations in its folder that judged this checkpoint (what an
        export of less precision or rank loses, `check_parity` tells); `sizes`; `versions`.
    """
    layers = describe(model)
    data = {
        "model": to_json(run.card),
        **about,
        "checkpoint": run.checkpoint.name,
        "paper": {"title": PAPER, "section": "3.1" if run.card.model in FUSIONS else "3.2"},
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


def labels_text(run: Run):
    """The class names, one a line, in the order of the model's outputs."""
    return "".join(f"{name}\n" for name in run.card.classes)


def with_probabilities(run: Run, model=None):
    """A model whose output is a dict of `probabilities` instead of logits, so that every format names it so.

    Args:
        run: the trained run, whose loss tells what its logits mean.
        model: another form of its model; None for its own.

    Returns:
        Keras model of the same input; `probabilities` are float32 `[batch, class]`.
    """
    model = run.model if model is None else model
    probabilities = keras.layers.Activation(run.card.loss, dtype="float32", name="probabilities")(model.output)
    return keras.Model(model.input, {"probabilities": probabilities}, name=model.name)


def check_exportable(run: Run):
    """Refuses a run whose model is not all that it takes from pixels to classes.

    Args:
        run: the trained run.

    Raises:
        ModelFileError: its inputs are features that no graph computes.
    """
    if run.card.model == FEATURE_HISTOGRAMS:
        raise ModelFileError(
            f"{run.checkpoint.parent.parent}: {run.card.model} cannot be exported, since its features are no part of a "
            "graph: predict and evaluate with the run itself"
        )


def check_size(model, path):
    """Refuses a model that a file of one piece cannot hold: TFLite's and ONNX's offsets end at 2 GiB.

    Args:
        model: the `keras.Model` in float32.
        path: the file it is meant for.

    Raises:
        ModelFileError: it is too large.
    """
    size_gib = model.count_params() * 4 / 2**30
    if size_gib >= MAX_FILE_GIB:
        raise ModelFileError(
            f"{path}: such a file holds less than {MAX_FILE_GIB} GiB, the weights alone take {size_gib:.1f} GiB: "
            "export a SavedModel, a narrower model or one of less rank"
        )


def _metrics(run):
    """By split, what an evaluation in the run's folder says of this checkpoint."""
    metrics = {}
    for path in sorted(to_path(run.checkpoint).parent.parent.glob("evaluation-*.json")):
        try:
            result = json.loads(path.read_text(encoding="utf-8"))
            if result["checkpoints"] != [run.checkpoint.name]:
                continue
            names = ("videos", "clips", "views", "clip_hit_at_1", "video_hit_at_1", "map", "intervals")
            metrics[result["split"]] = {name: result[name] for name in names}
        except (OSError, ValueError, KeyError, TypeError):
            continue  # another version's, or one that was cut short: an export does not fail for it
    return metrics
