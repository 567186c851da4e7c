"""Initial weights that suit the data: means, spreads, and that every model then learns."""

import keras
import numpy as np
import pytest

import deepvideo_tf as dv
from deepvideo_tf.config import MODEL_NAMES

HIDDEN = [f"conv{number}" for number in range(1, 6)] + ["fc6", "fc7"]


def clips_for(model, batch=16):
    """Clips that have most in common: one picture, and a small square that is somewhere else in each clip."""
    rng = np.random.default_rng(0)
    clips = np.repeat(rng.integers(0, 256, (1, *model.input_shape[1:]), dtype=np.uint8), batch, axis=0)
    for clip in clips:
        top, left = rng.integers(0, clip.shape[1] - 20, 2)
        clip[:, top : top + 20, left : left + 20] = rng.integers(0, 256)
    return clips


def before_activation(model, clips):
    """What the layers of a single-frame net give before their ReLU, `[answer, unit]`, computed without the package."""
    found, x = {}, clips
    for layer in model.layers[1:]:
        if layer.name in HIDDEN:
            kernel, bias = layer.get_weights()
            if layer.name.startswith("conv"):
                x = keras.ops.conv(x, kernel, strides=layer.strides, padding=layer.padding) + bias
            else:
                x = x @ kernel + bias
            found[layer.name] = np.reshape(x, (-1, x.shape[-1]))
            x = keras.ops.relu(x)
        else:
            x = layer(x)
            x = x[0] if isinstance(x, list) else x
    return found, x


def test_means_and_spreads():
    model = dv.single_frame(5, crop_size_px=60, width=0.1)
    clips = clips_for(model)
    dv.initialize_from_clips(model, clips)
    answers, logits = before_activation(model, clips)
    pixel_spread = np.sqrt(np.square(clips.astype(float) - 117).mean())
    for number, name in enumerate(HIDDEN, start=1):
        expected = pixel_spread ** ((7 - number) / 7)
        np.testing.assert_allclose(answers[name].mean(axis=0), 0, atol=1e-3 * expected)
        assert answers[name].std() == pytest.approx(expected, rel=1e-3)
    assert not np.any(logits)


@pytest.mark.parametrize("name", MODEL_NAMES)
def test_every_model_tells_clips_apart_from_the_start(name):
    """Fresh weights answer to what the clips have in common; fitted ones to what they do not."""
    model = dv.build_model(name, 5, crop_size_px=60, width=0.1)
    clips = clips_for(model)
    features = keras.Model(model.input, model.get_layer("fc7").output)

    def part_that_differs():
        answers = features.predict_on_batch(clips)
        return np.square(answers - answers.mean(axis=0)).mean() / np.square(answers).mean()

    fresh = part_that_differs()
    dv.initialize_from_clips(model, clips)
    assert part_that_differs() > max(0.3, 3 * fresh)


@pytest.mark.parametrize("grey", [117, 30])
def test_clips_without_any_difference_blow_nothing_up(grey):
    model = dv.multires(5, fusion="slow_fusion", crop_size_px=60, width=0.1)
    before = [np.abs(value).max() for value in model.get_weights() if value.ndim > 1]
    dv.initialize_from_clips(model, np.full((4, *model.input_shape[1:]), grey, np.uint8))
    after = [np.abs(value).max() for value in model.get_weights() if value.ndim > 1]
    assert all(0 <= new < 1000 * old for new, old in zip(after, before, strict=True))
