"""Slow fusion frame by frame is slow fusion clip by clip."""

import keras
import numpy as np
import pytest

import deepvideo_tf as dv
from deepvideo_tf.models.precision import dtype_policy

CROP_SIZE_PX = 48


def build(fusion="slow_fusion", **arguments):
    keras.utils.set_random_seed(0)
    builder = dv.slow_fusion if fusion == "slow_fusion" else dv.multires
    options = {} if fusion == "slow_fusion" else {"fusion": "slow_fusion"}
    return builder(4, crop_size_px=CROP_SIZE_PX, width=0.1, **options, **arguments)


def video(num_frames, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (num_frames, CROP_SIZE_PX, CROP_SIZE_PX, 3), dtype=np.uint8)


def clips_of(frames, num_frames, hop_frames):
    starts = range(0, len(frames) - num_frames + 1, hop_frames)
    return np.stack([frames[start : start + num_frames] for start in starts])


@pytest.mark.parametrize("name", ["slow_fusion", "multires_slow_fusion"])
@pytest.mark.parametrize("hop_frames", [1, 2, 3, 4, pytest.param(12, marks=pytest.mark.long)])
def test_every_complete_clip_gets_the_models_logits(name, hop_frames):
    model = build(name)
    frames = video(31)
    stream = dv.SlowFusionStream(model, hop_frames=hop_frames)
    answers = [stream.push(frame) for frame in frames]
    complete = [index for index, answer in enumerate(answers) if answer is not None]
    assert complete == list(range(9, 31, hop_frames))
    expected = model.predict(clips_of(frames, 10, hop_frames), verbose=0)
    np.testing.assert_allclose([answers[index] for index in complete], expected, atol=1e-5)


def test_longer_clips_and_one_stream():
    for model in (
        build(num_frames=18),
        dv.multires(4, fusion="slow_fusion", stream="fovea", crop_size_px=48, width=0.1),
    ):
        num_frames = model.input_shape[1]
        frames = video(26)
        stream = dv.SlowFusionStream(model)
        answers = [answer for frame in frames if (answer := stream.push(frame)) is not None]
        expected = model.predict(clips_of(frames, num_frames, 2), verbose=0)
        np.testing.assert_allclose(answers, expected, atol=1e-5)


def test_mixed_precision():
    with dtype_policy("mixed_bfloat16"):
        model = build()
    stream = dv.SlowFusionStream(model)
    frames = video(12)
    answers = [answer for frame in frames if (answer := stream.push(frame)) is not None]
    np.testing.assert_allclose(answers, model.predict(clips_of(frames, 10, 2), verbose=0), atol=0.02)


def test_a_later_clip_costs_one_window_of_conv1_and_conv2():
    """Section 3.1's windows: 4 responses of conv1 and 2 of conv2 for a clip by itself."""
    model = build()
    layers = {layer.name: layer.multiply_adds for layer in dv.describe(model)}
    clip = sum(layers.values())
    stream = dv.SlowFusionStream(model)
    costs, before = [], 0
    for frame in video(16):
        stream.push(frame)
        costs.append(stream.multiply_adds - before)
        before = stream.multiply_adds
    assert costs[:9] == [0] * 9
    assert costs[9] == clip
    assert costs[11] == clip - layers["conv1"] * 3 // 4  # both of its conv2 windows are new
    assert costs[13] == clip - layers["conv1"] * 3 // 4 - layers["conv2"] // 2
    assert costs[15] == costs[13]
    assert costs[10] == costs[12] == costs[14] == 0


@pytest.mark.parametrize(("hop_frames", "most"), [(1, 10 + 6 + 4), (2, 10 + 3 + 2), (50, 10)])
def test_nothing_is_kept_but_what_the_next_clips_need(hop_frames, most):
    stream = dv.SlowFusionStream(build(), hop_frames=hop_frames)
    for frame in video(120):
        stream.push(frame)
        assert stream.num_kept <= most


def test_reset_begins_a_new_video():
    stream = dv.SlowFusionStream(build())
    first, second = video(11, seed=1), video(10, seed=2)
    for frame in first:
        stream.push(frame)
    stream.reset()
    assert stream.multiply_adds == 0
    answers = [stream.push(frame) for frame in second]
    expected = build().predict(second[None], verbose=0)[0]
    np.testing.assert_allclose(answers[-1], expected, atol=1e-5)


def test_the_models_own_graph_is_as_before():
    model = build()
    before = model.get_config()
    dv.SlowFusionStream(model)
    assert model.get_config() == before
    assert dv.describe(model) == dv.describe(build())


@pytest.mark.parametrize("name", ["single_frame", "early_fusion", "multires_late_fusion"])
def test_other_models_are_refused(name):
    with pytest.raises(ValueError, match=f"model must be a slow-fusion net as built, .*Received: {name}"):
        dv.SlowFusionStream(dv.build_model(name, 4, crop_size_px=48, width=0.05))


@pytest.mark.parametrize(
    "frame", [np.zeros((48, 48, 3)), np.zeros((48, 48), np.uint8), np.zeros((40, 48, 3), np.uint8)]
)
def test_frames_of_another_kind_are_refused(frame):
    with pytest.raises(ValueError, match=r"frame must be uint8 \[48, 48, 3\]. Received: "):
        dv.SlowFusionStream(build()).push(frame)


def test_a_hop_of_nothing_is_refused():
    with pytest.raises(ValueError, match="hop_frames must be a whole number, 1 or more. Received: 0"):
        dv.SlowFusionStream(build(), hop_frames=0)


def test_a_net_with_another_head_is_refused():
    model = build()
    for output in (keras.layers.Softmax()(model.output), keras.layers.Dense(7)(model.get_layer("dropout7").output)):
        with pytest.raises(ValueError, match="as built"):
            dv.SlowFusionStream(keras.Model(model.input, output))


def test_the_buffer_of_a_frame_may_be_used_again():
    model = build()
    frames = video(12)
    stream, buffer, answers = dv.SlowFusionStream(model), np.empty_like(frames[0]), []
    for frame in frames:
        buffer[:] = frame
        answers.append(stream.push(buffer))
    np.testing.assert_allclose(answers[-1], model.predict(frames[None, 2:], verbose=0)[0], atol=1e-5)
