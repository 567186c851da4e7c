"""What `describe` tells, against the sizes of section 3.1 multiplied by hand, and against the graph that runs."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

import deepvideo_tf as dv
from deepvideo_tf.config import MODEL_NAMES

HEAD = 7 * 7 * 256 * 4096 + 4096 * 4096 + 4096 * 487


def test_single_frame_by_hand():
    tower = {
        "conv1": 54 * 54 * 11 * 11 * 3 * 96,
        "conv2": 27 * 27 * 5 * 5 * 96 * 256,
        "conv3": 14 * 14 * 3 * 3 * 256 * 384,
        "conv4": 14 * 14 * 3 * 3 * 384 * 384,
        "conv5": 14 * 14 * 3 * 3 * 384 * 256,
    }
    layers = {layer.name: layer for layer in dv.describe(dv.single_frame(487))}
    assert {name: layers[name].multiply_adds for name in tower} == tower
    assert sum(layer.multiply_adds for layer in layers.values()) == sum(tower.values()) + HEAD
    assert layers["conv1"].parameters == 11 * 11 * 3 * 96 + 96
    assert list(layers) == [
        "clip", "subtract_mean", "frames", "conv1", "norm1", "pool1", "conv2", "norm2", "pool2", "conv3", "conv4",
        "conv5", "pool5", "flatten", "fc6", "dropout6", "fc7", "dropout7", "logits",
    ]  # fmt: skip


def test_slow_fusion_by_hand():
    layers = {layer.name: layer for layer in dv.describe(dv.slow_fusion(5, width=1 / 32))}
    assert layers["clip"].shape == layers["frames"].shape == (10, 170, 170, 3)
    assert layers["conv1_windows"].shape == (4, 170, 170, 12)
    assert layers["conv1"].shape == (4, 54, 54, 3)
    assert layers["conv1"].multiply_adds == 4 * 54 * 54 * 11 * 11 * 12 * 3
    assert layers["conv2_windows"].shape == (2, 27, 27, 6)
    assert layers["conv2"].multiply_adds == 2 * 27 * 27 * 5 * 5 * 6 * 8
    assert layers["conv3"].shape == (1, 14, 14, 12)
    assert layers["conv3"].multiply_adds == 14 * 14 * 3 * 3 * 16 * 12
    assert layers["fc6"].shape == (128,)
    assert layers["logits"].shape == (5,)


@pytest.mark.parametrize("name", MODEL_NAMES)
def test_the_graph_that_tensorflow_runs_multiplies_as_often(name):
    model = dv.build_model(name, 5, width=0.1, crop_size_px=60)
    clip = tf.TensorSpec((1, *model.input_shape[1:]), tf.uint8)
    function = tf.function(lambda clip: model(clip, training=False)).get_concrete_function(clip)
    total = 0
    for operation in convert_variables_to_constants_v2(function).graph.get_operations():
        weighted = operation.type in ("Conv2D", "MatMul") and "norm" not in operation.name  # LRN has no weights
        if weighted:
            *_, channels, filters = kernel = operation.inputs[1].shape
            total += np.prod(operation.outputs[0].shape) // filters * np.prod(kernel)
            assert operation.inputs[0].shape[-1] == channels
    assert sum(layer.multiply_adds for layer in dv.describe(model)) == total


def test_depthwise_and_separable_convolutions_and_batch_normalization():
    image = keras.Input((8, 6, 3))
    x = keras.layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2, name="depthwise")(image)
    x = keras.layers.BatchNormalization(name="normalization")(x)
    x = keras.layers.SeparableConv2D(5, 3, strides=2, padding="same", name="separable")(x)
    layers = {layer.name: layer for layer in dv.describe(keras.Model(image, x))}
    assert layers["depthwise"].multiply_adds == 8 * 6 * 3 * 3 * 3 * 2
    assert layers["separable"].multiply_adds == 4 * 3 * (3 * 3 * 6 + 6 * 5)
    assert (layers["normalization"].parameters, layers["normalization"].multiply_adds) == (4 * 6, 0)


def test_other_layers_with_weights_are_refused():
    image = keras.Input((4, 4, 3))
    model = keras.Model(image, keras.layers.Conv2DTranspose(2, 3, name="wide")(image))
    with pytest.raises(ValueError, match="Conv2D, DepthwiseConv2D, .* Received: wide, a Conv2DTranspose"):
        dv.describe(model)


def test_models_that_are_not_functional_are_refused():
    with pytest.raises(ValueError, match="model must be a functional keras.Model. Received: Sequential"):
        dv.describe(keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)]))
