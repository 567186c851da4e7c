"""The numbers of the paper (sections 3.1 and 3.2) at width 1, and what every model must do."""

import keras
import numpy as np
import pytest

import deepvideo_tf as dv
from deepvideo_tf.config import MODEL_CLIPS, MODEL_NAMES
from deepvideo_tf.models.registry import BUILDERS

PARAMETERS = {
    "single_frame": 73_908_071,
    "early_fusion": 74_221_703,
    "slow_fusion": 75_511_751,
    "late_fusion": 125_288_295,
    "multires": 129_035_495,
    "multires_slow_fusion": 132_242_855,
}


@pytest.fixture(scope="module")
def full_size():
    """All models at the paper's size; `build_model` makes no copy of what it has made."""
    return {name: dv.build_model(name, 487) for name in PARAMETERS}


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters(full_size, name):
    assert full_size[name].count_params() == PARAMETERS[name]


def sizes(model, prefix=""):
    layers = ("conv1", "norm1", "pool1", "conv2", "norm2", "pool2", "conv3", "conv4", "conv5")
    return [model.get_layer(prefix + layer).output.shape[1:] for layer in layers]


def test_feature_maps_of_the_full_frame(full_size):
    model = full_size["single_frame"]
    assert model.input_shape == (None, 1, 170, 170, 3)
    assert sizes(model) == [
        (54, 54, 96), (54, 54, 96), (27, 27, 96),
        (27, 27, 256), (27, 27, 256), (14, 14, 256),
        (14, 14, 384), (14, 14, 384), (14, 14, 256),
    ]  # fmt: skip
    assert model.get_layer("pool5").output.shape[1:] == (7, 7, 256)
    assert [model.get_layer(name).output.shape[1:] for name in ("fc6", "fc7", "logits")] == [(4096,), (4096,), (487,)]


@pytest.mark.parametrize("stream", ["fovea", "context"])
def test_feature_maps_of_a_stream(full_size, stream):
    model = full_size["multires"]
    assert model.input_shape == (None, 1, 178, 178, 3)
    assert model.get_layer(stream).output.shape[1:] == (89, 89, 3)
    assert sizes(model, f"{stream}_") == [
        (27, 27, 96), (27, 27, 96), (14, 14, 96),
        (14, 14, 256), (14, 14, 256), (7, 7, 256),
        (7, 7, 384), (7, 7, 384), (7, 7, 256),
    ]  # fmt: skip
    assert f"{stream}_pool5" not in [layer.name for layer in model.layers]
    assert model.get_layer("ends").output.shape[1:] == (7, 7, 512)


@pytest.mark.parametrize(
    ("name", "extents"),
    [
        ("single_frame", (1, 1, 1)),
        ("early_fusion", (1, 1, 1)),
        ("late_fusion", (2, 2, 2)),
        ("slow_fusion", (4, 2, 1)),
        ("multires_slow_fusion", (4, 2, 1)),
    ],
)
def test_time_extents(full_size, name, extents):
    """How many columns of time each of the first three convolutions answers for; slow fusion: 10 -> 4 -> 2 -> 1."""
    prefix = "fovea_" if name.startswith("multires") else ""
    layers = [full_size[name].get_layer(f"{prefix}conv{number}") for number in (1, 2, 3)]
    assert tuple(len(layer._inbound_nodes) for layer in layers) == extents


def test_first_filters(full_size):
    kernels = {name: full_size[name].get_layer("conv1").kernel.shape for name in PARAMETERS if "multires" not in name}
    assert kernels["single_frame"] == kernels["late_fusion"] == (11, 11, 3, 96)
    assert kernels["early_fusion"] == (11, 11, 3 * 10, 96)
    assert kernels["slow_fusion"] == (11, 11, 3 * 4, 96)


def small(name, **arguments):
    clip = MODEL_CLIPS[name]
    return dv.build_model(name, 5, **{"width": 0.05, "crop_size_px": 48, "num_frames": clip.num_frames} | arguments)


def clips_for(model, batch=2):
    return np.random.default_rng(0).integers(0, 256, (batch, *model.input_shape[1:]), dtype=np.uint8)


@pytest.mark.parametrize("name", MODEL_NAMES)
def test_every_model_answers_and_learns(name):
    keras.utils.set_random_seed(0)
    model = small(name, dropout=0.0)
    clips, targets = clips_for(model, 4), np.eye(5, dtype=np.float32)[[0, 1, 2, 3]]
    logits = model.predict(clips, verbose=0)
    assert logits.shape == (4, 5)
    assert logits.dtype == np.float32
    model.compile(keras.optimizers.AdamW(1e-3), keras.losses.CategoricalCrossentropy(from_logits=True))
    losses = model.fit(clips, targets, epochs=20, verbose=0).history["loss"]
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize("name", MODEL_NAMES)
def test_every_model_is_saved_and_loaded_in_safe_mode(name, tmp_path):
    model = small(name)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    clips = clips_for(model)
    np.testing.assert_allclose(loaded.predict(clips, verbose=0), model.predict(clips, verbose=0), atol=1e-5)


@pytest.mark.parametrize("name", MODEL_NAMES)
def test_every_layer_has_a_name_of_ours(name):
    assert not [layer.name for layer in small(name).layers if layer.name[-2:-1] == "_" and layer.name[-1].isdigit()]


def test_the_mean_is_subtracted_inside():
    """Section 3.3: a clip of the constant 117 is all zeros to the tower, whatever the weights."""
    model = small("single_frame")
    inner = keras.Model(model.input, model.get_layer("conv1").output)
    np.testing.assert_array_equal(inner.predict(np.full((1, 1, 48, 48, 3), 117, np.uint8), verbose=0), 0)


def test_fovea_is_the_centre_and_context_the_whole_at_half_resolution():
    model = dv.multires(3, width=0.02, crop_size_px=178)
    views = keras.Model(model.input, [model.get_layer("fovea").output, model.get_layer("context").output])
    clip = clips_for(model, 1)
    fovea, context = views.predict(clip, verbose=0)
    pixels = clip[0, 0].astype(np.float32) - 117
    np.testing.assert_allclose(fovea[0], pixels[44:133, 44:133], atol=1e-4)
    np.testing.assert_allclose(context[0], pixels.reshape(89, 2, 89, 2, 3).mean(axis=(1, 3)), atol=1e-4)


def test_mixed_precision_gives_float32_logits():
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = small("multires_slow_fusion")
    finally:
        keras.config.set_dtype_policy(before)
    assert model.get_layer("fovea_conv1").compute_dtype == "bfloat16"
    assert model.predict(clips_for(model), verbose=0).dtype == np.float32


@pytest.mark.parametrize("name", MODEL_NAMES)
@pytest.mark.parametrize(
    ("argument", "value"),
    [("width", 0), ("crop_size_px", 10), ("crop_size_px", 170.0), ("dropout", 1), ("lrn_beta", 0), ("num_frames", 0)],
)
def test_bad_arguments_are_named(name, argument, value):
    with pytest.raises(ValueError, match=rf"{argument} must .*Received: "):
        dv.build_model(name, 5, **{argument: value})


@pytest.mark.parametrize(
    ("name", "num_frames"), [("single_frame", 2), ("late_fusion", 1), ("slow_fusion", 9), ("slow_fusion", 11)]
)
def test_clips_of_the_wrong_length_are_refused(name, num_frames):
    with pytest.raises(ValueError, match=f"num_frames must be .* for {name}. Received: {num_frames}"):
        dv.build_model(name, 5, num_frames=num_frames)


def test_longer_slow_fusion_sees_every_frame():
    model = small("slow_fusion", num_frames=18, dropout=0.0)
    clip = clips_for(model, 1)
    expected = model.predict(clip, verbose=0)
    for frame in range(18):
        changed = clip.copy()
        changed[0, frame] = 255 - changed[0, frame]
        assert np.abs(model.predict(changed, verbose=0) - expected).max() > 1e-6


@pytest.mark.parametrize("argument", ["width", "dropout", "lrn_beta"])
def test_arguments_that_are_no_numbers_are_named(argument):
    with pytest.raises(ValueError, match=f"{argument} must be a number, .*Received: 'x'"):
        dv.multires(4, **{argument: "x"})


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="model must be one of single_frame, .*Received: 'resnet'"):
        dv.build_model("resnet", 5)
    with pytest.raises(ValueError, match="fusion must be one of .*Received: 'middle'"):
        dv.multires(5, fusion="middle")
    with pytest.raises(ValueError, match="num_classes must be"):
        dv.single_frame(0)


def test_the_registry_is_the_list_of_names():
    assert tuple(BUILDERS) == MODEL_NAMES
