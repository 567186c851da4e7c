import keras
import numpy as np
import pytest

import deepvideo_tf as dv
from deepvideo_tf.errors import ConfigError
from deepvideo_tf.models.responses import before_activation

SIZE_PX = 45


def random_clip(model, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (1, *model.input_shape[1:]), dtype=np.uint8)


@pytest.mark.parametrize(
    ("name", "streams", "starts", "reach"),
    [
        ("single_frame", ["frame"], [0], 1),
        ("early_fusion", ["frame"], [0], 10),
        ("slow_fusion", ["frame"], [0, 2, 4, 6], 4),
        ("late_fusion", ["frame"], [0, 1], 1),
        ("multires_early_fusion", ["context", "fovea"], [0], 10),
        ("fovea", ["fovea"], [0], 1),
    ],
)
def test_filters_are_what_the_first_convolution_computes(name, streams, starts, reach):
    """Its response in the corner of the first frames of each window, computed by hand from filter and pixels."""
    model = dv.build_model(name, 3, crop_size_px=SIZE_PX, width=0.05)
    filters = dv.first_layer_filters(model)
    assert list(filters) == streams
    clip = random_clip(model)
    views = {"frame": clip} if streams == ["frame"] else dv.stream_views(model, clip)
    for stream, of_stream in filters.items():
        assert of_stream.shape == (5, reach, 11, 11, 3)
        layer = model.get_layer("conv1" if stream == "frame" else f"{stream}_conv1")
        answers = before_activation(model, [layer], clip)[layer.name]
        found = answers.reshape(len(starts), -1, 5)[:, 0]
        seen = views[stream][0, :, :11, :11].astype(float) - 117
        expected = np.stack([(of_stream * seen[at : at + reach]).sum(axis=(1, 2, 3, 4)) for at in starts])
        # Keras calls a shared layer for the columns in an order of its own.
        found, expected = (rows[np.argsort(rows[:, 0])] for rows in (found, expected))
        # The context's pixels are quarters, and are rounded to whole ones in what is shown.
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=3 if stream == "context" else 0.01)


def test_streams_see_the_centre_and_the_whole():
    model = dv.multires(3, crop_size_px=44, width=0.05, fusion="late_fusion")
    clip = random_clip(model)
    views = dv.stream_views(model, clip)
    np.testing.assert_array_equal(views["fovea"], clip[:, :, 11:33, 11:33])
    blocks = clip.reshape(1, 2, 22, 2, 22, 2, 3).astype(float).mean(axis=(3, 5))
    np.testing.assert_allclose(views["context"], blocks, atol=0.5)
    assert views["context"].dtype == np.uint8


def test_models_without_them_are_refused():
    with pytest.raises(ConfigError, match="two-stream net or one of its streams. Received: single_frame"):
        dv.stream_views(dv.single_frame(3, crop_size_px=20, width=0.02), np.zeros((1, 1, 20, 20, 3), np.uint8))
    inputs = keras.Input((4,))
    dense = keras.Model(inputs, keras.layers.Dense(2)(inputs), name="dense")
    with pytest.raises(ConfigError, match="a model of this package, as built. Received: dense"):
        dv.first_layer_filters(dense)
