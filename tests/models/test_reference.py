"""Whole models against a forward pass in NumPy, written from sections 3.1 and 3.2 alone."""

import keras
import numpy as np
import pytest

import deepvideo_tf as dv


def convolve(x, kernel, bias, stride, padding):
    """float64 `[height, width, channel]`."""
    size = kernel.shape[0]
    around = 0 if padding == "valid" else size // 2
    x = np.pad(x, ((around, around), (around, around), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(x, (size, size), axis=(0, 1))[::stride, ::stride]
    return np.einsum("hwcij,ijcf->hwf", windows, kernel) + bias


def normalise(x, beta):
    padded = np.pad(x**2, ((0, 0), (0, 0), (2, 2)))
    energy = sum(padded[..., shift : shift + x.shape[-1]] for shift in range(5))
    return x / (2 + 1e-4 * energy) ** beta


def pool(x):
    """The largest of 2 x 2, with what is left over at an odd edge."""
    height, width, _ = x.shape
    padded = np.pad(x, ((0, height % 2), (0, width % 2), (0, 0)), constant_values=-np.inf)
    return padded.reshape(-(-height // 2), 2, -(-width // 2), 2, x.shape[-1]).max(axis=(1, 3))


def relu(x):
    return np.maximum(x, 0)


def tower(columns, weights, prefix, windows, beta, last_pool):
    for number, (size, stride) in enumerate(windows, start=1):
        starts = range(0, len(columns) - size + 1, stride)
        columns = [np.concatenate(columns[start : start + size], axis=-1) for start in starts]
        stride_px, padding = (3, "valid") if number == 1 else (1, "same")
        columns = [relu(convolve(x, *weights[f"{prefix}conv{number}"], stride_px, padding)) for x in columns]
        if number < 3:
            columns = [pool(normalise(x, beta)) for x in columns]
    for number in (4, 5):
        columns = [relu(convolve(x, *weights[f"{prefix}conv{number}"], 1, "same")) for x in columns]
    return [pool(x) for x in columns] if last_pool else columns


def logits(ends, weights):
    x = np.concatenate(ends, axis=-1).reshape(-1)
    for name in ("fc6", "fc7"):
        x = relu(x @ weights[name][0] + weights[name][1])
    return x @ weights["logits"][0] + weights["logits"][1]


def shrink(x):
    """The mean of 2 x 2, and of what is left over at an odd edge."""
    return np.stack(
        [[x[i : i + 2, j : j + 2].mean(axis=(0, 1)) for j in range(0, len(x), 2)] for i in range(0, len(x), 2)]
    )


WINDOWS = {
    "single_frame": ((1, 1), (1, 1), (1, 1)),
    "early_fusion": ((10, 1), (1, 1), (1, 1)),
    "late_fusion": ((1, 1), (1, 1), (1, 1)),
    "slow_fusion": ((4, 2), (2, 2), (2, 2)),
}


def with_random_biases(model):
    random = np.random.default_rng(0)
    for layer in model.layers:
        if layer.weights:
            kernel, bias = layer.get_weights()
            layer.set_weights([kernel, random.normal(size=bias.shape) * 0.3])
    return {
        layer.name: [value.astype(float) for value in layer.get_weights()] for layer in model.layers if layer.weights
    }


@pytest.mark.parametrize("beta", [0.5, 0.75])
@pytest.mark.parametrize("fusion", WINDOWS)
def test_full_frame(fusion, beta):
    keras.utils.set_random_seed(0)
    model = dv.build_model(fusion, 5, width=0.1, crop_size_px=52, lrn_beta=beta)
    weights = with_random_biases(model)
    clip = np.random.default_rng(1).integers(0, 256, model.input_shape[1:], dtype=np.uint8)
    frames = list(clip.astype(float) - 117)
    expected = logits(tower(frames, weights, "", WINDOWS[fusion], beta, last_pool=True), weights)
    np.testing.assert_allclose(model.predict(clip[None], verbose=0)[0], expected, atol=1e-4)


@pytest.mark.parametrize("crop_size_px", [60, 61, 62, 63])
@pytest.mark.parametrize("stream", [None, "context", "fovea"])
def test_streams(crop_size_px, stream):
    keras.utils.set_random_seed(0)
    size = {"width": 0.1, "crop_size_px": crop_size_px, "lrn_beta": 0.75}
    model = dv.multires(5, fusion="slow_fusion", stream=stream, **size)
    weights = with_random_biases(model)
    clip = np.random.default_rng(1).integers(0, 256, model.input_shape[1:], dtype=np.uint8)
    half = -(-crop_size_px // 2)
    left = (crop_size_px - half) // 2
    ends = []
    for name in ("context", "fovea") if stream is None else (stream,):
        frames = [
            shrink(frame) if name == "context" else frame[left : left + half, left : left + half]
            for frame in clip.astype(float) - 117
        ]
        ends += tower(frames, weights, f"{name}_", WINDOWS["slow_fusion"], 0.75, last_pool=False)
    np.testing.assert_allclose(model.predict(clip[None], verbose=0)[0], logits(ends, weights), atol=1e-4)
