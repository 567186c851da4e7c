"""Layers of less rank against what linear algebra says of them."""

import numpy as np
import pytest

import deepvideo_tf as dv
from deepvideo_tf.errors import ConfigError
from deepvideo_tf.formats.low_rank import reduce_rank
from deepvideo_tf.models.responses import before_activation

MODELS = ("multires", "slow_fusion")  # two streams, and layers that columns of time share


def small_model(name):
    return dv.build_model(name, 5, width=0.1, crop_size_px=48)


def random_clips(model, count=24):
    return np.random.default_rng(1).integers(0, 256, (count, *model.input_shape[1:]), dtype=np.uint8)


def lower(model, names, rank):
    """Gives layers kernels of a rank, and biases that are not zero."""
    rng = np.random.default_rng(2)
    for layer in model.layers:
        if layer.name.split("_")[-1] in names:
            kernel, bias = layer.get_weights()
            basis = rng.normal(size=(kernel.shape[-1], rank)) / np.sqrt(rank)
            layer.set_weights([kernel @ basis @ basis.T, rng.normal(scale=0.1, size=bias.shape)])


@pytest.mark.parametrize("name", MODELS)
def test_layers_that_have_that_rank_are_kept_as_they_are(name):
    model = small_model(name)
    lower(model, ("fc6", "fc7"), 3)
    lower(model, ("conv2", "conv3", "conv4", "conv5"), 2)
    clips = random_clips(model)
    reduced = reduce_rank(model, clips, dense_rank=3, conv_rank=2)
    others = np.random.default_rng(3).integers(0, 256, clips.shape, dtype=np.uint8)
    expected = model(others).numpy()
    assert expected.std() > 1e-3
    np.testing.assert_allclose(reduced(others).numpy(), expected, atol=1e-3 * np.abs(expected).max())
    names = {layer.name for layer in reduced.layers if layer.name.endswith("_reduced")}
    streams = ("fovea_", "context_") if name == "multires" else ("",)
    convolutions = {f"{stream}conv{number}_reduced" for stream in streams for number in (2, 3, 4, 5)}
    assert names == convolutions | {"fc6_reduced", "fc7_reduced"}
    assert reduced.count_params() < 0.5 * model.count_params()


def test_what_is_lost_is_the_variance_of_the_least_components():
    """The mean squared error of a layer's responses is the sum of the smallest eigenvalues of their covariance."""
    model, rank = small_model("single_frame"), 4
    clips = random_clips(model, 64)
    layer = model.get_layer("fc6")
    before = before_activation(model, [layer], clips)["fc6"].astype(np.float64)
    reduced = reduce_rank(model, clips, dense_rank=rank)
    after = before_activation(reduced, [reduced.get_layer("fc6")], clips)["fc6"]
    error = np.square(before - after).sum(axis=1).mean()
    eigenvalues = np.sort(np.linalg.eigvalsh(np.cov(before.T, bias=True)))
    np.testing.assert_allclose(error, eigenvalues[:-rank].sum(), rtol=1e-3)
    assert error < 0.9 * before.var(axis=0).sum()


def test_a_rank_that_saves_nothing_is_refused():
    model = small_model("single_frame")
    clips = random_clips(model, 3)
    assert reduce_rank(model, clips) is model
    for name in ("conv_rank", "dense_rank"):
        with pytest.raises(ConfigError, match=f"{name} must be low enough to save something in this model.*10000"):
            reduce_rank(model, clips, **{name: 10_000})
    # conv3 has 234 inputs and 38 outputs: 234 * 38 / (234 + 38) = 32.7; conv2 would break even at 23.5.
    reduced = reduce_rank(model, clips, conv_rank=30)
    assert [layer.name for layer in reduced.layers if layer.name.endswith("_reduced")] == [
        "conv3_reduced",
        "conv4_reduced",
    ]
    with pytest.raises(ConfigError, match="conv_rank must be low enough"):
        reduce_rank(model, clips, conv_rank=36)


def test_the_model_given_is_left_alone():
    model = small_model("single_frame")
    clips = random_clips(model, 8)
    weights, answers = model.get_weights(), model(clips).numpy()
    reduce_rank(model, clips, dense_rank=2, conv_rank=2)
    for before, after in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)
    np.testing.assert_array_equal(model(clips).numpy(), answers)
