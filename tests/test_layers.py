import keras
import numpy as np
import pytest

from deepvideo_tf.layers import LocalResponseNormalization, SplitFrames


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
    x = np.random.default_rng(0).normal(size=(2, 5, 4, channels)).astype(np.float32)
    y = keras.ops.convert_to_numpy(LocalResponseNormalization(beta=beta)(x * scale)) / scale
    np.testing.assert_allclose(y, lrn_reference(x * scale, beta=beta) / scale, atol=1e-5)


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
