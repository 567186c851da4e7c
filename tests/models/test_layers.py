import keras
import numpy as np
import pytest
import tensorflow as tf

from deepvideo_tf.models.layers import LocalResponseNormalization, SplitFrames, TemporalWindows


def lrn_reference(x, radius=2, bias=2.0, alpha=1e-4, beta=0.5):
    """Section 3.1's formula, channel by channel, in float64."""
    x = x.astype(np.float64)
    result = np.empty_like(x)
    for channel in range(x.shape[-1]):
        neighbours = x[..., max(0, channel - radius) : channel + radius + 1]
        result[..., channel] = x[..., channel] / (bias + alpha * (neighbours**2).sum(-1)) ** beta
    return result


@pytest.mark.parametrize("beta", [0.5, 0.75])
@pytest.mark.parametrize("channels", [1, 3, 4, 7, 96])
@pytest.mark.parametrize("scale", [1, 100])
def test_lrn_is_the_papers_formula(beta, channels, scale):
    """To 1e-5 of the scale: float32 has seven digits."""
    x = np.random.default_rng(0).normal(size=(2, 5, 4, channels)).astype(np.float32)
    y = keras.ops.convert_to_numpy(LocalResponseNormalization(beta=beta)(x * scale)) / scale
    np.testing.assert_allclose(y, lrn_reference(x * scale, beta=beta) / scale, atol=1e-5)


@pytest.mark.parametrize("beta", [0.5, 0.75])
@pytest.mark.parametrize("channels", [2, 5, 7])
def test_the_gradient_of_lrn_is_that_of_finite_differences(beta, channels):
    """In float64, with an alpha so large that the normalisation matters."""
    random = np.random.default_rng(0)
    x, direction = random.normal(size=(2, 2, 3, 2, channels))
    weights = random.normal(size=x.shape)
    layer = LocalResponseNormalization(alpha=0.5, beta=beta, dtype="float64")
    variable = tf.Variable(x)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(weights * layer(variable))
    slope = (tape.gradient(loss, variable).numpy() * direction).sum()
    step = 1e-5
    ahead, behind = (
        (weights * lrn_reference(x + sign * step * direction, alpha=0.5, beta=beta)).sum() for sign in (1, -1)
    )
    np.testing.assert_allclose(slope, (ahead - behind) / (2 * step), rtol=1e-7)


def test_lrn_defaults_are_the_papers():
    config = LocalResponseNormalization().get_config()
    assert (config["bias"], config["depth_radius"], config["alpha"], config["beta"]) == (2.0, 2, 1e-4, 0.5)


@pytest.mark.parametrize("dtype", ["mixed_float16", "mixed_bfloat16"])
def test_lrn_in_half_precision_neither_overflows_nor_drifts(dtype):
    x = np.random.default_rng(0).normal(size=(1, 2, 2, 8)).astype(np.float32) * 1000
    y = keras.ops.convert_to_numpy(keras.ops.cast(LocalResponseNormalization(dtype=dtype)(x), "float32"))
    np.testing.assert_allclose(y, lrn_reference(x), rtol=0.03, atol=1)


@pytest.mark.parametrize("argument", [{"depth_radius": -1}, {"bias": 0}, {"alpha": -1}, {"beta": 0}])
def test_lrn_refuses_bad_arguments(argument):
    with pytest.raises(ValueError, match=next(iter(argument))):
        LocalResponseNormalization(**argument)


def test_lrn_config_round_trip():
    layer = LocalResponseNormalization(depth_radius=3, bias=1.5, alpha=1e-3, beta=0.75, name="norm")
    assert LocalResponseNormalization.from_config(layer.get_config()).get_config() == layer.get_config()


def test_split_frames_keeps_the_order():
    clip = np.arange(2 * 3 * 2 * 2 * 1).reshape(2, 3, 2, 2, 1).astype(np.float32)
    frames = SplitFrames()(clip)
    assert len(frames) == 3
    for index, frame in enumerate(frames):
        np.testing.assert_array_equal(frame, clip[:, index])


@pytest.mark.parametrize(
    ("num_columns", "size", "stride", "expected"),
    [
        (10, 4, 2, [[0, 1, 2, 3], [2, 3, 4, 5], [4, 5, 6, 7], [6, 7, 8, 9]]),
        (4, 2, 2, [[0, 1], [2, 3]]),
        (3, 3, 1, [[0, 1, 2]]),
        (3, 1, 2, [[0], [2]]),
    ],
)
def test_temporal_windows(num_columns, size, stride, expected):
    """Each column's number in all of its channels tells where it went."""
    columns = [np.full((1, 2, 2, 3), number, np.float32) for number in range(num_columns)]
    layer = TemporalWindows(size, stride)
    windows = layer(columns)
    assert [window[0, 1, 1].numpy().tolist() for window in windows] == [np.repeat(row, 3).tolist() for row in expected]
    shapes = layer.compute_output_shape([column.shape for column in columns])
    assert shapes == [tuple(window.shape) for window in windows]


def test_temporal_windows_config_round_trip():
    layer = TemporalWindows(4, 2, name="conv1_windows")
    assert TemporalWindows.from_config(layer.get_config()).get_config() == layer.get_config()


@pytest.mark.parametrize(("size", "stride", "name"), [(0, 1, "size"), (2, 0, "stride"), (2.0, 1, "size")])
def test_temporal_windows_refuse_bad_arguments(size, stride, name):
    with pytest.raises(ValueError, match=f"{name} must be a whole number, 1 or more. Received: "):
        TemporalWindows(size, stride)


def test_temporal_windows_need_enough_columns():
    with pytest.raises(ValueError, match="a list of 4 columns or more. Received: 3"):
        TemporalWindows(4, 2)([np.zeros((1, 2, 2, 3), np.float32)] * 3)
