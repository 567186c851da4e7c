"""The numbers of the paper (sections 3.1 and 3.2) at width 1, and what every model must do."""

import re
import subprocess
import sys

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import deepvideo_tf as dv
from deepvideo_tf.config import FUSIONS, MODEL_NAMES, TRAINABLE_NAMES
from deepvideo_tf.models import MODEL_MODULES
from deepvideo_tf.models.precision import dtype_policy as policy


def small(name, num_classes=5, **arguments):
    return dv.build_model(name, num_classes, **{"width": 0.05, "crop_size_px": 48} | arguments)


def clips_for(model, batch=2):
    return np.random.default_rng(0).integers(0, 256, (batch, *model.input_shape[1:]), dtype=np.uint8)


@pytest.mark.parametrize(
    ("name", "dtype_policy"),
    [(name, "float32") for name in MODEL_NAMES]
    + [(name, "mixed_bfloat16") for name in ("single_frame", "multires")]
    + [
        pytest.param(name, "mixed_bfloat16", marks=pytest.mark.long)
        for name in MODEL_NAMES
        if name not in ("single_frame", "multires")
    ],
)
def test_every_model_overfits_16_clips(name, dtype_policy):
    """Clips of noise, a class each: nothing but every clip's own content tells them apart."""
    keras.utils.set_random_seed(0)
    with policy(dtype_policy):
        model = small(name, num_classes=16, dropout=0.0, width=0.1)
    clips, labels = clips_for(model, 16), np.arange(16)
    model.compile(keras.optimizers.AdamW(1e-3), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(clips, labels, batch_size=16, epochs=200, verbose=0, callbacks=[StopAtLoss(0.1)])
    np.testing.assert_array_equal(model.predict(clips, verbose=0).argmax(axis=1), labels)


class StopAtLoss(keras.callbacks.Callback):
    def __init__(self, loss):
        super().__init__()
        self.loss = loss

    def on_epoch_end(self, epoch, logs):
        self.model.stop_training = logs["loss"] < self.loss


@pytest.mark.parametrize("name", MODEL_NAMES)
def test_batches_of_any_size_give_each_clip_the_same_float32_logits(name):
    model = small(name)
    clips = clips_for(model, 5)
    together = model.predict(clips, batch_size=5, verbose=0)
    assert together.shape == (5, 5)
    assert together.dtype == np.float32
    np.testing.assert_allclose(model.predict(clips, batch_size=2, verbose=0), together, atol=1e-5)


@pytest.mark.parametrize("name", MODEL_NAMES)
def test_every_model_is_saved_and_loaded_in_safe_mode(name, tmp_path):
    model = small(name)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    clips = clips_for(model)
    np.testing.assert_allclose(loaded.predict(clips, verbose=0), model.predict(clips, verbose=0), atol=1e-5)


def test_a_saved_model_is_loaded_elsewhere_as_the_readme_says(tmp_path):
    path = tmp_path / "model.keras"
    small("multires_slow_fusion").save(path)
    code = f"import keras, deepvideo_tf.models.layers; print(keras.models.load_model({str(path)!r}).name)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout == "multires_slow_fusion\n"


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


@pytest.mark.parametrize("name", MODEL_NAMES)
def test_dropout_and_beta_reach_their_layers(name):
    model = small(name, dropout=0.3, lrn_beta=0.75, width=0.2)
    assert [layer.rate for layer in model.layers if isinstance(layer, keras.layers.Dropout)] == [0.3, 0.3]
    norms = [layer.beta for layer in model.layers if "norm" in layer.name]
    assert norms == [0.75] * (4 if "multires" in name else 2)
    after = keras.Model(model.input, model.get_layer("dropout6").output)(clips_for(model, 8), training=True).numpy()
    before = keras.Model(model.input, model.get_layer("fc6").output)(clips_for(model, 8), training=True).numpy()
    kept = after[before > 0] > 0
    assert 0.6 < kept.mean() < 0.8
    np.testing.assert_allclose(after[after > 0], (before / 0.7)[after > 0], rtol=1e-4)


@pytest.mark.parametrize("name", MODEL_NAMES)
def test_keras_set_to_channels_first_changes_nothing(name):
    expected = small(name)
    keras.config.set_image_data_format("channels_first")
    try:
        model = small(name)
    finally:
        keras.config.set_image_data_format("channels_last")
    assert [layer.output.shape for layer in model.layers if layer.weights] == [
        layer.output.shape for layer in expected.layers if layer.weights
    ]
    model.set_weights(expected.get_weights())
    clips = clips_for(model)
    np.testing.assert_allclose(model.predict(clips, verbose=0), expected.predict(clips, verbose=0), atol=1e-6)


def test_a_name_is_not_overridden_by_an_argument():
    for argument in ({"stream": "context"}, {"fusion": "early_fusion"}):
        with pytest.raises(TypeError, match=next(iter(argument))):
            dv.build_model("fovea", 5, **argument)


def test_mixed_precision_gives_float32_logits():
    with policy("mixed_bfloat16"):
        model = small("multires_slow_fusion")
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
    """Besides, it has the streams alone of the fusions that the programs have no name for."""
    assert set(TRAINABLE_NAMES) <= set(MODEL_MODULES)
    assert all(name.startswith(("fovea_", "context_")) for name in set(MODEL_MODULES) - set(TRAINABLE_NAMES))


FRAMES = {"single_frame": st.just(1), "early_fusion": st.integers(1, 12), "late_fusion": st.integers(2, 4)}
VALID = st.sampled_from(MODEL_NAMES).flatmap(
    lambda name: st.fixed_dictionaries(
        {
            "name": st.just(name),
            "num_classes": st.integers(1, 12),
            "num_frames": FRAMES.get(fusion_of(name), st.sampled_from([10, 18])),
            "crop_size_px": st.integers(11 if name in FUSIONS else 22, 70),
            "width": st.floats(1e-3, 0.1),
            "dropout": st.floats(0, 0.99),
            "lrn_beta": st.floats(0.1, 2),
        }
    )
)


def fusion_of(name):
    return name if name in FUSIONS else name.partition("_")[2] or "single_frame"


@settings(max_examples=30, deadline=None)
@given(VALID)
def test_any_valid_model_builds_and_runs(arguments):
    model = dv.build_model(**arguments)
    logits = model.predict_on_batch(clips_for(model, 2))
    assert logits.shape == (2, arguments["num_classes"])
    assert np.isfinite(logits).all()
    assert model.input_shape[1:3] == (arguments["num_frames"], arguments["crop_size_px"])


INVALID = {
    "num_classes": st.integers(max_value=0) | st.floats() | st.booleans() | st.text(),
    "num_frames": st.integers(max_value=0) | st.floats() | st.booleans() | st.text(),
    "crop_size_px": st.integers(max_value=10) | st.floats() | st.booleans() | st.text(),
    "width": st.floats(max_value=0) | st.floats(min_value=8) | st.just(float("nan")) | st.none() | st.text(),
    "dropout": st.floats(max_value=0, exclude_max=True) | st.floats(min_value=1) | st.just(float("nan")) | st.text(),
    "lrn_beta": st.floats(max_value=0) | st.floats(min_value=8) | st.just(float("nan")) | st.booleans(),
}


@settings(deadline=None)
@given(VALID, st.sampled_from(sorted(INVALID)), st.data())
def test_any_invalid_argument_is_named(arguments, argument, data):
    value = data.draw(INVALID[argument])
    with pytest.raises(ValueError, match=f"^{argument} must be .*Received: {re.escape(repr(value))}$"):
        dv.build_model(**arguments | {argument: value})


@pytest.mark.parametrize("name", MODEL_NAMES)
def test_the_smallest_crop(name):
    least_px = 11 if name in FUSIONS else 22
    assert small(name, crop_size_px=least_px).input_shape[2] == least_px
    with pytest.raises(ValueError, match=f"crop_size_px must be .* {least_px} or more. Received: {least_px - 1}"):
        small(name, crop_size_px=least_px - 1)


@settings(deadline=None)
@given(st.integers(1, 40).filter(lambda frames: frames < 10 or frames % 8 != 2))
def test_lengths_that_slow_fusion_cannot_take_are_refused(num_frames):
    with pytest.raises(ValueError, match=f"num_frames must be .* for slow_fusion. Received: {num_frames}"):
        dv.multires(5, fusion="slow_fusion", num_frames=num_frames)
