import numpy as np
import pytest

from deepvideo_tf.errors import ConfigError
from deepvideo_tf.visualization.saliency import HIDDEN_VALUE, occlusion_saliency


def deciding(frame, rows, columns):
    """A model whose class 1 is as likely as some pixels are bright."""

    def answer(clips):
        bright = (clips[:, frame, rows, columns].astype(float) - HIDDEN_VALUE).mean(axis=(1, 2, 3)) / 100
        return np.stack([1 - bright, bright], axis=1)

    return answer


def test_the_region_that_decides_is_found():
    clip = np.full((4, 60, 60, 3), HIDDEN_VALUE + 80, np.uint8)
    found = occlusion_saliency(deciding(2, slice(20, 30), slice(30, 40)), clip, 1, grid=6)
    expected = np.zeros((4, 6, 6))
    expected[2, 2, 3] = 0.8
    assert found.probability == pytest.approx(0.8)
    np.testing.assert_allclose(found.by_region, expected, atol=1e-6)
    np.testing.assert_allclose(found.by_frame, [0, 0, 0.8, 0], atol=1e-6)
    # For the other class the same region speaks against it.
    against = occlusion_saliency(deciding(2, slice(20, 30), slice(30, 40)), clip, 0, grid=6)
    np.testing.assert_allclose(against.by_region, -expected, atol=1e-6)


def test_every_pixel_is_hidden_once_however_the_grid_falls():
    clip = np.full((2, 43, 43, 3), HIDDEN_VALUE + 100, np.uint8)
    found = occlusion_saliency(deciding(0, slice(None), slice(None)), clip, 1, grid=6)
    assert found.by_region[0].sum() == pytest.approx(1, abs=1e-5)
    assert (found.by_region[0] > 0).all()
    assert not found.by_region[1].any()


def test_the_clip_is_left_as_it_is():
    clip = np.full((1, 12, 12, 3), 200, np.uint8)
    occlusion_saliency(deciding(0, slice(None), slice(None)), clip, 1, grid=2)
    assert (clip == 200).all()
    with pytest.raises(ConfigError, match="grid must be a whole number, from 1 to 12. Received: 13"):
        occlusion_saliency(deciding(0, slice(None), slice(None)), clip, 1, grid=13)
