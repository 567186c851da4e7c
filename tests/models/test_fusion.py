"""The fusions of time against independent references (section 3.1)."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import deepvideo_tf as dv
from deepvideo_tf.models.layers import LocalResponseNormalization

CROP_SIZE_PX = 60


def build(name, seed=0, **arguments):
    keras.utils.set_random_seed(seed)
    return dv.build_model(name, 5, **{"width": 0.1, "crop_size_px": CROP_SIZE_PX, "dropout": 0.0} | arguments)


def random_clips(num_frames, batch=2):
    shape = (batch, num_frames, CROP_SIZE_PX, CROP_SIZE_PX, 3)
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def conv3d(model, name, time, stride, space_stride=1, padding=None):
    """A 3-D convolution, VALID in time, with the weights of a 2-D one over `time` frames joined along channels."""
    kernel, bias = model.get_layer(name).get_weights()
    height, width, channels, filters = kernel.shape
    kernel = kernel.reshape(height, width, time, channels // time, filters).transpose(2, 0, 1, 3, 4)
    layer = keras.layers.Conv3D(
        filters, (time, height, width), strides=(stride, space_stride, space_stride), activation="relu"
    )
    around = 0 if padding == "valid" else height // 2
    pad = keras.layers.ZeroPadding3D((0, around, around))
    layer.build((None, None, None, None, channels // time))
    layer.set_weights([kernel, bias])
    return lambda x: layer(pad(x))


@pytest.mark.parametrize(
    ("name", "num_frames", "windows"),
    [
        ("slow_fusion", 10, ((4, 2), (2, 2), (2, 2))),
        ("slow_fusion", 18, ((4, 2), (2, 2), (2, 2))),
        ("early_fusion", 10, ((10, 1), (1, 1), (1, 1))),
        ("early_fusion", 3, ((3, 1), (1, 1), (1, 1))),
    ],
)
def test_windows_in_time_are_a_3d_convolution(name, num_frames, windows):
    model = build(name, num_frames=num_frames)
    clips = random_clips(num_frames)
    (time1, stride1), (time2, stride2), (time3, stride3) = windows
    norm = LocalResponseNormalization()
    pool = keras.layers.MaxPooling3D((1, 2, 2), padding="same")
    x = tf.constant(clips, tf.float32) - 117.0
    x = pool(norm_each(norm, conv3d(model, "conv1", time1, stride1, space_stride=3, padding="valid")(x)))
    x = pool(norm_each(norm, conv3d(model, "conv2", time2, stride2)(x)))
    x = conv3d(model, "conv3", time3, stride3)(x)
    x = pool(conv3d(model, "conv5", 1, 1)(conv3d(model, "conv4", 1, 1)(x)))
    # What is left of time stands side by side in the channels.
    ends = tf.concat(tf.unstack(x, axis=1), axis=-1)
    expected = tf.reshape(ends, [len(clips), -1])
    for layer in ("fc6", "fc7", "logits"):
        expected = model.get_layer(layer)(expected)
    np.testing.assert_allclose(model.predict(clips, verbose=0), expected, atol=1e-4)
    assert np.abs(model.predict(clips[:, ::-1], verbose=0) - expected).max() > 1e-2  # which a wrong order would show


def norm_each(norm, x):
    return tf.stack([norm(moment) for moment in tf.unstack(x, axis=1)], axis=1)


CONVOLUTIONS = [f"conv{number}" for number in (1, 2, 3, 4, 5)]


def gradients(model, answer):
    variables = [model.get_layer(name).kernel.value for name in CONVOLUTIONS]
    with tf.GradientTape() as tape:
        loss = answer()
    return tape.gradient(loss, variables)


def test_late_fusions_towers_share_their_weights_and_gradients_of_both_frames_add_up():
    model = build("late_fusion")
    assert len(model.trainable_variables) == 2 * len([*CONVOLUTIONS, "fc6", "fc7", "logits"])
    clips = random_clips(2)
    weights = np.random.default_rng(1).normal(size=(2, 5))

    def head(ends):
        x = tf.reshape(tf.concat(ends, axis=-1), [len(clips), -1])
        for name in ("fc6", "fc7", "logits"):
            x = model.get_layer(name)(x)
        return tf.reduce_sum(weights * tf.cast(x, tf.float64))

    shared = gradients(model, lambda: tf.reduce_sum(weights * tf.cast(model(clips), tf.float64)))
    # Two towers of their own, with the same weights, each on one of the frames.
    towers = []
    for _ in range(2):
        net = build("single_frame", seed=5)
        for name in CONVOLUTIONS:
            net.get_layer(name).set_weights(model.get_layer(name).get_weights())
        towers.append((net, keras.Model(net.input, net.get_layer("pool5").output)))

    def both():
        return head([tower(clips[:, index : index + 1]) for index, (_, tower) in enumerate(towers)])

    of_each = [gradients(net, both) for net, _ in towers]
    for name, together, first, second in zip(CONVOLUTIONS, shared, *of_each, strict=True):
        assert np.abs(first).max() > 0, name
        assert np.abs(first - second).max() > 1e-3 * np.abs(first).max(), name
        np.testing.assert_allclose(together, first + second, rtol=1e-3, atol=1e-5 * np.abs(together).max())


@pytest.mark.parametrize("fusion", ["single_frame", "early_fusion", "late_fusion", "slow_fusion"])
def test_the_two_streams_share_nothing(fusion):
    model = build("multires" if fusion == "single_frame" else f"multires_{fusion}")
    clips = random_clips(model.input_shape[1])
    ends = keras.Model(model.input, [model.get_layer(f"{stream}_conv5").output for stream in ("context", "fovea")])
    before = ends.predict(clips, verbose=0)
    for name in CONVOLUTIONS:
        of_fovea, of_context = model.get_layer(f"fovea_{name}"), model.get_layer(f"context_{name}")
        assert of_fovea.kernel is not of_context.kernel
        assert np.abs(of_fovea.get_weights()[0] - of_context.get_weights()[0]).max() > 1e-3
        of_fovea.set_weights([2 * weight for weight in of_fovea.get_weights()])
    after = ends.predict(clips, verbose=0)
    np.testing.assert_array_equal(after[0], before[0])
    assert np.abs(after[1] - before[1]).max() > 1e-3
