"""Weights of one model in another: the same answers where both see the same."""

import keras
import numpy as np
import pytest

import deepvideo_tf as dv

WIDTH = 0.1


def build(name, seed, num_classes=5, **arguments):
    keras.utils.set_random_seed(seed)
    model = dv.build_model(name, num_classes, **{"width": WIDTH, "crop_size_px": 60} | arguments)
    for layer in model.layers:  # biases start at zero, where nothing would tell them from one another
        if layer.weights:
            kernel, bias = layer.get_weights()
            layer.set_weights([kernel, np.random.default_rng(seed).normal(size=bias.shape) * 0.1])
    return model


def still_clips(num_frames, size_px=60):
    frame = np.random.default_rng(0).integers(0, 256, (3, 1, size_px, size_px, 3), dtype=np.uint8)
    return np.repeat(frame, num_frames, axis=1)


@pytest.mark.parametrize(
    ("source_name", "target_name", "frames"),
    [
        ("single_frame", "single_frame", 1),
        ("single_frame", "early_fusion", 10),
        ("single_frame", "slow_fusion", 10),
        pytest.param("single_frame", "slow_fusion", 18, marks=pytest.mark.long),
        ("single_frame", "late_fusion", 2),
        ("multires", "multires_early_fusion", 10),
        ("multires", "multires_slow_fusion", 10),
        ("multires", "multires_late_fusion", 2),
        ("fovea", "fovea", 1),
    ],
)
def test_a_still_clip_gets_the_logits_of_its_frame(source_name, target_name, frames):
    source = build(source_name, seed=1)
    target = build(target_name, seed=2, num_frames=frames)
    expected = source.predict(still_clips(1), verbose=0)
    assert np.abs(target.predict(still_clips(frames), verbose=0) - expected).max() > 0.01
    assert dv.inflate_weights(source, target) == []
    np.testing.assert_allclose(target.predict(still_clips(frames), verbose=0), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("source_name", "target_name", "streams"),
    [
        ("single_frame", "multires", ("context", "fovea")),
        ("slow_fusion", "multires_slow_fusion", ("context", "fovea")),
        ("single_frame", "multires_slow_fusion", ("context", "fovea")),
        ("late_fusion", "multires_late_fusion", ("context", "fovea")),
        ("single_frame", "fovea", ("fovea",)),
        ("single_frame", "context", ("context",)),
    ],
)
def test_each_stream_answers_for_its_view_as_the_full_frame_tower(source_name, target_name, streams):
    """30 pixels end in maps of 2 x 2 without the last pool, as 45 do with it."""
    source = build(source_name, seed=1, crop_size_px=45)
    target = build(target_name, seed=2)
    assert dv.inflate_weights(source, target) == []
    of_view = build(source_name, seed=3, crop_size_px=30, num_frames=source.input_shape[1])
    for layer in of_view.layers:
        if layer.name.startswith("conv") and layer.weights:
            layer.set_weights(source.get_layer(layer.name).get_weights())
    tower = keras.Model(of_view.input, of_view.get_layer("conv5").output)
    clips = still_clips(target.input_shape[1])
    ends = []
    for stream in streams:
        if stream == "fovea":
            views = clips[:, : source.input_shape[1], 15:45, 15:45]
        else:  # pixels of each 2 x 2 alike, so that their mean is a whole number
            clips = clips[:, :, ::2, ::2].repeat(2, axis=2).repeat(2, axis=3)
            views = clips[:, : source.input_shape[1], ::2, ::2]
        answer = keras.Model(target.input, target.get_layer(f"{stream}_conv5").output).predict(clips, verbose=0)
        np.testing.assert_allclose(answer, tower.predict(views, verbose=0), atol=1e-3, rtol=1e-4)
        ends.append(answer)


def test_the_first_dense_layer_takes_the_mean_of_the_streams():
    source, target = build("single_frame", seed=1, crop_size_px=45), build("multires", seed=2)
    dv.inflate_weights(source, target)
    ends = np.random.default_rng(0).normal(size=(4, 2, 2, 26)).astype(np.float32)
    other = np.random.default_rng(1).normal(size=ends.shape).astype(np.float32)
    answers = {
        name: keras.Model(model.get_layer("flatten").input, model.get_layer("fc6").output)
        for name, model in (("source", source), ("target", target))
    }
    of_source = answers["source"].predict((ends + other) / 2, verbose=0)
    of_target = answers["target"].predict(np.concatenate([ends, other], axis=-1), verbose=0)
    np.testing.assert_allclose(of_target, of_source, atol=1e-5)


def test_the_papers_sizes_fit():
    """170 pixels for the full frame, 178 for two streams: both end in 7 x 7 maps (section 3.2)."""
    source = dv.single_frame(7, width=0.02)
    assert dv.inflate_weights(source, dv.multires(7, width=0.02, fusion="slow_fusion")) == []


def test_another_number_of_classes_keeps_its_own_head():
    source, target = build("single_frame", seed=1), build("slow_fusion", seed=2, num_classes=9)
    before = target.get_layer("logits").get_weights()
    assert dv.inflate_weights(source, target) == ["logits"]
    for value, old in zip(target.get_layer("logits").get_weights(), before, strict=True):
        np.testing.assert_array_equal(value, old)
    np.testing.assert_array_equal(*(model.get_layer("fc7").get_weights()[0] for model in (source, target)))


@pytest.mark.parametrize(
    ("source_name", "target_name", "arguments", "words"),
    [
        ("early_fusion", "slow_fusion", {}, "fit conv1 of slow_fusion"),
        ("late_fusion", "single_frame", {}, "fit fc6 of single_frame"),
        ("single_frame", "single_frame", {"width": 0.2}, "fit conv1 of single_frame"),
        ("single_frame", "single_frame", {"crop_size_px": 90}, "fit fc6 of single_frame"),
        ("fovea", "context", {}, "have a layer context_conv1 or conv1. Received: fovea"),
        ("multires", "single_frame", {}, "have a layer conv1. Received: multires"),
        ("single_frame", "slow_fusion", {"lrn_beta": 0.75}, r"have the target's lrn_beta, \{0.75\}. Received: \{0.5\}"),
    ],
)
def test_models_that_are_no_kin_are_refused_and_nothing_changes(source_name, target_name, arguments, words):
    source, target = build(source_name, seed=1), build(target_name, seed=2, **arguments)
    before = [weight.numpy() for weight in target.weights]
    with pytest.raises(ValueError, match=f"source must {words}"):
        dv.inflate_weights(source, target)
    for weight, old in zip(target.weights, before, strict=True):
        np.testing.assert_array_equal(weight.numpy(), old)
