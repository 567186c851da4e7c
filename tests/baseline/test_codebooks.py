"""The properties of words, soft quantisation and the pyramid."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepvideo_tf.baseline import codebooks as books
from deepvideo_tf.baseline import features
from deepvideo_tf.baseline.codebooks import Codebook
from deepvideo_tf.baseline.places import LocalFeatures

SEEDS = st.integers(0, 2**32 - 1)


def random_features(seed, count, dims=5):
    rng = np.random.default_rng(seed)
    return LocalFeatures(rng.standard_normal((count, dims), np.float32), rng.random((count, 3), np.float32))


def random_codebook(seed, words, width, dims=5):
    return Codebook(np.random.default_rng([seed, 1]).standard_normal((words, dims), np.float32), width)


@settings(deadline=None)
@given(SEEDS, st.integers(1, 60), st.integers(1, 30), st.sampled_from([0, 1e-3, 0.3, 1.0, 50.0]))
def test_every_histogram_sums_to_1_and_the_pyramid_adds_up(seed, count, words, width):
    found = books.word_histogram(random_features(seed, count), random_codebook(seed, words, width))
    assert found.shape == (7, words)
    assert (found >= 0).all()
    assert found[0].sum() == pytest.approx(1, abs=1e-4)
    np.testing.assert_allclose(found[1:5].sum(axis=0), found[0], atol=1e-5)
    np.testing.assert_allclose(found[5:7].sum(axis=0), found[0], atol=1e-5)


@settings(deadline=None)
@given(SEEDS, st.integers(1, 40), st.integers(1, 20))
def test_soft_becomes_hard_as_the_width_goes_to_0(seed, count, words):
    descriptors = random_features(seed, count).descriptors
    codebook = random_codebook(seed, words, 0)
    hard = books.assign(descriptors, codebook)
    distances = ((descriptors[:, None].astype(float) - codebook.words) ** 2).sum(axis=-1)
    assert (distances[hard == 1] <= distances.min(axis=1) + 1e-4).all()
    ordered = np.sort(distances, axis=1)
    clear = np.full(count, True) if words == 1 else ordered[:, 1] - ordered[:, 0] > 1e-3
    errors = [
        np.abs(books.assign(descriptors, Codebook(codebook.words, width)) - hard)[clear].sum()
        for width in (1.0, 0.1, 0.001)
    ]
    assert errors[0] + 1e-5 >= errors[1] >= errors[2] - 1e-5
    assert errors[2] < 1e-3


@settings(deadline=None)
@given(SEEDS, st.integers(1, 20), st.integers(1, 10), st.floats(0.3, 5))
def test_soft_shares_are_those_of_the_formula(seed, count, words, width):
    descriptors, codebook = random_features(seed, count).descriptors, random_codebook(seed, words, width)
    for row, descriptor in zip(books.assign(descriptors, codebook), descriptors, strict=True):
        kernel = [np.exp(-((descriptor.astype(float) - word) ** 2).sum() / (2 * width**2)) for word in codebook.words]
        np.testing.assert_allclose(row, np.array(kernel) / sum(kernel), atol=1e-4)


def test_a_place_counts_in_its_own_cells():
    codebook = Codebook(np.eye(2, dtype=np.float32), 0)
    place = LocalFeatures(np.eye(2, dtype=np.float32), np.array([[0.1, 0.2, 0.9], [0.7, 0.6, 0.1]], np.float32))
    found = books.word_histogram(place, codebook)
    # The whole; upper left, upper right, lower left, lower right; first half, second half.
    np.testing.assert_allclose(found[:, 0], [0.5, 0, 0.5, 0, 0, 0.5, 0])
    np.testing.assert_allclose(found[:, 1], [0.5, 0, 0, 0.5, 0, 0, 0.5])


def test_no_features_give_zeros():
    assert not books.word_histogram(random_features(0, 0), random_codebook(0, 4, 1.0)).any()


@settings(deadline=None, max_examples=20)
@given(SEEDS, st.integers(1, 5), st.integers(2, 23), st.integers(2, 23))
def test_the_colours_of_any_clip_add_up(seed, time, height, width):
    clip = np.random.default_rng(seed).integers(0, 256, (time, height, width, 3), np.uint8)
    found = books.color_histogram(clip)
    assert found[0].sum() == pytest.approx(1, abs=1e-4)
    np.testing.assert_allclose(found[1:5].sum(axis=0), found[0], atol=1e-6)
    np.testing.assert_allclose(found[5:7].sum(axis=0), found[0], atol=1e-6)
    bins = features.hue_saturation_bins(clip)
    np.testing.assert_allclose(found[0], np.bincount(bins.ravel(), minlength=128) / bins.size, atol=1e-6)
    upper_left = bins[:, : (height // 2), : (width // 2)]
    lower_left = bins[:, (height // 2) :, : (width // 2)]
    for cell, inside in ((1, upper_left), (3, lower_left)):
        np.testing.assert_allclose(found[cell], np.bincount(inside.ravel(), minlength=128) / bins.size, atol=1e-6)


def test_a_pure_colour_has_no_spread():
    clip = np.broadcast_to(np.array([255, 51, 0], np.uint8), (4, 10, 10, 3))
    moments = books.color_moments(clip)
    np.testing.assert_allclose(moments, np.tile([1, 0.2, 0, 0, 0, 0, 0, 0, 0], (7, 1)), atol=1e-4)
    assert (books.color_histogram(clip)[0] == 1).sum() == 1


def test_moments_of_a_quarter_are_its_own():
    clip = np.zeros((1, 10, 10, 3), np.uint8)
    clip[:, :5, :5] = [255, 0, 0]
    moments = books.color_moments(clip)
    np.testing.assert_allclose(moments[1:5, 0], [1, 0, 0, 0], atol=1e-6)
    assert moments[0, 0] == pytest.approx(0.25)
    assert not moments[5].any()  # a single frame's middle is where the second half begins


def test_words_are_the_centres_of_clusters_and_the_width_their_spread():
    rng = np.random.default_rng(0)
    centres = np.array([[0, 0], [10, 0], [0, 10]], np.float32)
    descriptors = np.concatenate([centre + 0.1 * rng.standard_normal((5000, 2), np.float32) for centre in centres])
    codebook = books.learn_codebook(descriptors, 3)
    distances = np.sqrt(((codebook.words[:, None] - centres) ** 2).sum(axis=-1))
    assert distances.min(axis=0).max() < 0.05
    assert codebook.width == pytest.approx(np.sqrt(books.SOFTNESS * 2 * 0.1**2), rel=0.1)
    assert codebook.width == np.float32(codebook.width)
    again = books.learn_codebook(descriptors, 3)
    assert (again.words == codebook.words).all()
    assert again.width == codebook.width


def test_more_words_than_descriptors_stay_far_from_everything():
    descriptors = np.tile(np.eye(3, dtype=np.float32), (2, 1))
    codebook = books.learn_codebook(descriptors, 5)
    assert codebook.width == 0
    shares = books.assign(descriptors, codebook)
    assert (shares.sum(axis=0) > 0).sum() == 3
    nothing = books.learn_codebook(np.zeros((0, 3), np.float32), 5)
    assert np.isfinite(books.assign(descriptors, nothing)).all()


def test_the_vector_has_all_of_it_and_about_the_papers_size():
    clip = np.random.default_rng(0).integers(0, 256, (16, 40, 40, 3), np.uint8)
    codebooks = {
        kind: books.learn_codebook(found.descriptors, 6) for kind, found in features.local_features(clip).items()
    }
    vector = books.clip_vector(clip, codebooks).astype(np.float64)
    assert vector.shape == (books.vector_dims(6),)
    histograms, moments = np.split(vector, [7 * (4 * 6 + 128)])
    start = 0
    for size in (6, 6, 6, 6, 128):
        part = histograms[start : start + 7 * size].reshape(7, size) ** 2
        assert part[0].sum() == pytest.approx(1, abs=2e-3)
        assert part.sum() == pytest.approx(books.LEVELS, abs=6e-3)
        start += 7 * size
    np.testing.assert_allclose(moments[:6], [0.5] * 3 + [np.sqrt(1 / 12)] * 3, atol=0.02)  # of evenly spread colours
    assert books.vector_dims(850) == 24_759


def test_the_vector_shows_where_and_when():
    clip = np.full((16, 60, 60, 3), 90, np.uint8)
    clip[:8, 10:15, 40:50] = 220  # corners in the upper right, in the first half of the time
    clip[8:] = [255, 0, 0]
    codebooks = {
        kind: Codebook(np.random.default_rng(0).random((6, dims), np.float32), 0.1)
        for kind, dims in features.KIND_DIMS.items()
    }
    vector = books.clip_vector(clip, codebooks).astype(np.float64)
    sparse = vector[7 * 6 : 2 * 7 * 6].reshape(7, 6) ** 2
    np.testing.assert_allclose(sparse.sum(axis=1), [1, 0, 1, 0, 0, 1, 0], atol=2e-3)
    colours = vector[4 * 7 * 6 :][: 7 * 128].reshape(7, 128) ** 2
    assert colours[5:, 0] == pytest.approx([0.5, 0], abs=1e-3)  # grey
    assert colours[5:, 7] == pytest.approx([0, 0.5], abs=1e-3)  # red of full saturation
