"""Layers of reduced rank: the same network with a small fraction of its multiply-adds and weights.

A dense layer or a convolution becomes two: one from the inputs to `rank` units, one from these to the outputs. They
keep the directions in which the layer's responses to real clips vary most (their principal components), which for these
clips is the closest affine map of that rank. The singular vectors of the weights alone would be the closest for inputs
of white noise, which no layer of a trained network sees: on the six classes of UCF-101 they do as well for the dense
layers, and ruin the convolutions.
"""

from typing import Any

import keras
import numpy as np

from deepvideo_tf.config import check_int
from deepvideo_tf.errors import ConfigError
from deepvideo_tf.models.registry import info_of
from deepvideo_tf.models.responses import before_activation

RANK_CLIPS = 1024  # enough to find several times as many directions as the ranks in use
RESPONSES = 2048  # of a layer, at least, that its directions are computed from, if the clips give as many
BATCH_CLIPS = 32


def reduce_rank(
    model: keras.Model, clips: np.ndarray, *, dense_rank: int | None = None, conv_rank: int | None = None
) -> keras.Model:
    """Replace layers by pairs of layers of reduced rank, where that saves multiply-adds.

    Args:
        model: a trained model of this package, up to its logits.
        clips: calibration clips, uint8 `[clip, time, height, width, 3]`: more than `dense_rank`, better many more.
        dense_rank: rank of the hidden dense layers; None leaves them unchanged.
        conv_rank: rank of the convolutions except the first of each stream; None leaves them unchanged.

    Returns:
        A new `keras.Model` from clips to logits; the model itself if no rank is given. A layer `NAME` becomes
        `NAME_reduced`, which has no bias and no activation, and `NAME`.

    Raises:
        ConfigError: a rank is not an integer above 0 or saves nothing, or there are no more clips than `dense_rank`.
    """
    info = info_of(model)
    wanted = (("dense_rank", dense_rank, info.low_rank_dense), ("conv_rank", conv_rank, info.low_rank_convs))
    ranks: dict[str, int] = {}
    for argument, rank, names in wanted:
        if rank is None:
            continue
        check_int(argument, rank, 1)
        # In the order of the model's layers, as random responses are drawn for each.
        layers = [layer for layer in model.layers if layer.name in names]
        of_layers = {layer.name: rank for layer in layers if _saves(layer, rank)}
        if not of_layers:
            raise ConfigError(f"{argument} must be low enough to save something in this model. Received: {rank}")
        ranks |= of_layers
    if not ranks:
        return model
    if dense_rank is not None and len(clips) <= dense_rank:
        raise ConfigError(
            f"dense_rank must be below the number of calibration clips, {len(clips)}. Received: {dense_rank}"
        )
    pairs = {name: _pair(model.get_layer(name), rank) for name, rank in ranks.items()}

    def call(layer: keras.layers.Layer, *arguments: Any, **options: Any) -> Any:
        if layer.name not in pairs:
            return layer(*arguments, **options)
        into, out_of = pairs[layer.name]
        return out_of(into(*arguments))

    reduced = keras.models.clone_model(model, call_function=call)
    responses = _responses(model, [model.get_layer(name) for name in ranks], clips)
    for layer in model.layers:
        if layer.name in ranks:
            _set_weights(*pairs[layer.name], layer, responses[layer.name])
        elif layer.weights:
            reduced.get_layer(layer.name).set_weights(layer.get_weights())
    return reduced


def _saves(layer: keras.layers.Layer, rank: int) -> bool:
    *inputs, outputs = layer.kernel.shape
    return rank * (int(np.prod(inputs)) + outputs) < int(np.prod(inputs)) * outputs


def _pair(layer: keras.layers.Layer, rank: int) -> tuple[keras.layers.Layer, keras.layers.Layer]:
    """Make two layers in place of one, without their weights."""
    config = layer.get_config()
    into_config = config | {"name": f"{layer.name}_reduced", "activation": "linear", "use_bias": False}
    if isinstance(layer, keras.layers.Dense):
        return keras.layers.Dense.from_config(into_config | {"units": rank}), keras.layers.Dense.from_config(config)
    into = keras.layers.Conv2D.from_config(into_config | {"filters": rank})
    out_of = config | {"kernel_size": 1, "strides": 1, "padding": "valid"}
    return into, keras.layers.Conv2D.from_config(out_of)


def _responses(model: keras.Model, layers: list[keras.layers.Layer], clips: np.ndarray) -> dict[str, np.ndarray]:
    """Return, by layer, some of its responses to the clips, float32 `[response, unit]`, drawn evenly."""
    rng = np.random.default_rng(0)
    drawn: dict[str, list[np.ndarray]] = {layer.name: [] for layer in layers}
    for start in range(0, len(clips), BATCH_CLIPS):
        batch = clips[start : start + BATCH_CLIPS]
        wanted = -(-RESPONSES * len(batch) // len(clips))
        for name, answers in before_activation(model, layers, batch).items():
            drawn[name].append(answers if len(answers) <= wanted else rng.choice(answers, wanted, replace=False))
    return {name: np.concatenate(answers) for name, answers in drawn.items()}


def _set_weights(
    into: keras.layers.Layer, out_of: keras.layers.Layer, layer: keras.layers.Layer, responses: np.ndarray
) -> None:
    """Give a pair the weights with which it is nearest to the layer for these responses."""
    kernel, bias = layer.get_weights()
    mean = responses.mean(axis=0)
    directions = np.linalg.svd(responses - mean, full_matrices=False)[2]
    basis = np.zeros((len(mean), into.kernel.shape[-1]), np.float32)  # directions that no response has stay zeros
    basis[:, : len(directions)] = directions[: basis.shape[1]].T
    into.set_weights([kernel @ basis])
    out_of.set_weights([basis.T.reshape(out_of.kernel.shape), mean + (bias - mean) @ basis @ basis.T])
