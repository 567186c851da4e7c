"""Each feature against a case that can be calculated by hand, or against plain loops."""

import colorsys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepvideo_tf.baseline import appearance, features
from deepvideo_tf.baseline import cuboids as motion

SIZE = 60


def step_edge(angle_deg, size=SIZE, low=50, high=150):
    """A picture that is dark on one side of a line through its middle; the gradient points at the angle."""
    y, x = np.indices((size, size)) - (size - 1) / 2
    angle = np.radians(angle_deg)
    return np.where(x * np.cos(angle) + y * np.sin(angle) > 0, high, low).astype(np.uint8)


def moving_edge(num_frames=16, size=SIZE, speed_px=2, first_px=14):
    """A vertical edge that moves to the right, uint8 `[time, size, size]`: at `first_px` in frame 0."""
    x = np.arange(size)
    rows = [np.where(x < first_px + speed_px * t, 200, 40) for t in range(num_frames)]
    return np.repeat(np.array(rows, np.uint8)[:, None], size, axis=1)


def in_colour(grey):
    return np.repeat(np.asarray(grey, np.uint8)[..., None], 3, axis=-1)


def constant_clip(level=90, num_frames=16):
    return np.full((num_frames, SIZE, SIZE, 3), level, np.uint8)


@pytest.mark.parametrize("num_frames", [1, 2, 4, 10, 16, 32, 300])
def test_appearance_is_looked_at_all_over_the_clip(num_frames):
    chosen = appearance.appearance_frames(num_frames)
    assert len(chosen) == -(-num_frames // 4)
    edges = np.array([-1, *chosen, num_frames])
    assert (np.diff(edges) >= 1).all()
    assert (np.diff(edges) <= 4).all()


def test_a_constant_clip_has_no_structure_no_corner_and_no_motion():
    found = features.local_features(constant_clip())
    assert tuple(found) == features.KINDS
    assert not found["dense_hog"].descriptors.any()
    assert np.abs(found["textons"].descriptors).max() < 1e-4
    assert len(found["sparse_hog"].descriptors) == len(found["cuboids"].descriptors) == 0
    for kind, dims in features.KIND_DIMS.items():
        assert found[kind].descriptors.shape[1] == dims
        assert found[kind].descriptors.dtype == np.float32


@pytest.mark.parametrize("num_frames", [1, 2, 3, 300])
def test_clips_of_any_length_have_features(num_frames):
    clip = in_colour(np.random.default_rng(0).integers(0, 256, (num_frames, 40, 40)))
    found = features.local_features(clip)
    for of_kind in found.values():
        assert np.isfinite(of_kind.descriptors).all()
        assert ((of_kind.positions >= 0) & (of_kind.positions < 1)).all()
    assert (len(found["cuboids"].descriptors) == 0) == (num_frames == 1)


def test_grey_levels_weigh_red_green_and_blue_as_bt_601_does():
    clip = np.array([[[[255, 0, 0], [0, 255, 0], [0, 0, 255]]]], np.uint8)
    np.testing.assert_allclose(features.to_gray(clip)[0, 0], [0.299 * 255, 0.587 * 255, 0.114 * 255], atol=0.6)


# HOG


def test_gradients_are_found_where_and_when_they_are():
    clip = constant_clip(num_frames=8)
    clip[4:, 10:15, 40:50] = 220  # of the frames that are looked at, 2 and 6, only the second shows it
    found = features.local_features(clip)
    dense = found["dense_hog"]
    structured = np.linalg.norm(dense.descriptors, axis=1) > 0.1
    by_scale = structured.reshape(2, 2, -1).sum(axis=2)  # [frame, scale]
    assert by_scale[0].tolist() == [0, 0]
    assert 0 < by_scale[1, 0] < by_scale[1, 1]  # larger cells reach further
    time, y, x = dense.positions[structured].T
    assert np.unique(time).tolist() == [6.5 / 8]
    assert 2 < y.min() * SIZE < 11 < 14 < y.max() * SIZE < 23
    assert 32 < x.min() * SIZE < 41 < 49 < x.max() * SIZE < 58
    sparse = found["sparse_hog"].positions
    assert len(sparse) == 4
    for corner in ((10, 40), (10, 49), (14, 40), (14, 49)):
        assert np.abs(sparse * [8, SIZE, SIZE] - (6.5, *corner)).max(axis=1).min() < 2


@pytest.mark.parametrize(("angle", "channel"), [(0, 0), (20, 1), (40, 2), (80, 4), (140, 7), (200, 1), (270, 4.5)])
def test_an_edge_falls_into_the_channels_of_its_orientation(angle, channel):
    y, x = np.indices((SIZE, SIZE)) - (SIZE - 1) / 2
    across = x * np.cos(np.radians(angle)) + y * np.sin(np.radians(angle))
    soft_edge = (128 + 120 * np.tanh(across / 5)).round().astype(np.uint8)
    energy = appearance.orientation_channels(soft_edge).sum(axis=(0, 1))
    expected = np.zeros(appearance.ORIENTATIONS)
    expected[int(channel)] += 1 - channel % 1
    expected[int(channel + 0.999) % appearance.ORIENTATIONS] += channel % 1
    np.testing.assert_allclose(energy / energy.sum(), expected, atol=0.1)


def test_the_channels_are_those_of_plain_loops():
    grey = np.random.default_rng(1).integers(0, 256, (9, 11), np.uint8)
    expected = np.zeros((9, 11, 9))
    padded = np.pad(grey.astype(float), 1, mode="edge")
    for y in range(9):
        for x in range(11):
            along_x = (padded[y + 1, x + 2] - padded[y + 1, x]) / 2
            along_y = (padded[y + 2, x + 1] - padded[y, x + 1]) / 2
            place = np.degrees(np.arctan2(along_y, along_x)) % 180 / 20
            lower = int(place) % 9
            expected[y, x, lower] += np.hypot(along_x, along_y) * (1 - (place - int(place)))
            expected[y, x, (lower + 1) % 9] += np.hypot(along_x, along_y) * (place - int(place))
    # OpenCV's angles are right to 0.3 degrees, a part of 0.015 of a channel.
    np.testing.assert_allclose(appearance.orientation_channels(grey), expected, atol=0.02 * 181)


def test_a_descriptor_is_that_of_plain_loops():
    channels = np.random.default_rng(2).random((30, 40, 9), np.float32) * 20
    y, x, cell_px = 14, 21, 6
    cells = [channels[y + i : y + i + 6, x + j : x + j + 6].mean(axis=(0, 1)) for i in (-6, 0) for j in (-6, 0)]
    expected = np.concatenate(cells)
    expected = np.minimum(expected / np.sqrt((expected**2).sum() + 1), 0.2)
    expected /= np.sqrt((expected**2).sum())
    (found,) = appearance.hog_at(channels, np.array([[y, x]]), cell_px)
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_hog_does_not_depend_on_brightness_and_little_on_contrast():
    plain, bright, strong = (
        features.local_features(constant_clip(0)[:1] + in_colour(step_edge(30, low=low, high=high))[None])["dense_hog"]
        for low, high in ((50, 100), (150, 200), (50, 150))
    )
    np.testing.assert_allclose(plain.descriptors, bright.descriptors, atol=1e-5)
    np.testing.assert_allclose(plain.descriptors, strong.descriptors, atol=0.08)


def test_corners_are_those_of_a_square():
    picture = np.full((SIZE, SIZE), 30, np.uint8)
    picture[20:40, 15:45] = 220
    found = appearance.corners(picture)
    assert len(found) == 4
    for corner in ((20, 15), (20, 44), (39, 15), (39, 44)):
        assert np.abs(found - corner).max(axis=1).min() <= 1


# Textons


@pytest.mark.parametrize("angle", [0, 30, 90, 135, 300])
def test_an_edge_has_its_closed_form_in_any_orientation(angle):
    """A Gaussian's derivative answers height / (sqrt(2 pi) sigma) to a step; times sigma all scales are alike."""
    # An even size: the line lies between pixels, half a pixel from the nearest ones.
    picture = (step_edge(angle, size=80, low=0, high=255) / 255).astype(np.float32)
    responses = appearance.filter_responses(picture[..., None])[:, :, 0]
    edges, bars = responses[40, 40, 0:6:2], responses[40, 40, 1:6:2]
    np.testing.assert_allclose(edges[1:], 1 / np.sqrt(2 * np.pi), rtol=0.07)
    assert np.abs(bars[2]) < 0.12


def test_a_bar_and_a_blob_have_their_closed_forms():
    """A parabola's second derivative is 1 everywhere; a ridge answers with its own sign, a bowl with its Laplacian."""
    y, x = (np.indices((80, 80)) - 40).astype(np.float32) / 100
    for sign in (1, -1):
        ridge = sign * 0.5 * x**2
        responses = appearance.filter_responses(ridge[..., None])[40, 40, 0]
        for number, sigma_px in enumerate(appearance.TEXTON_SIGMAS_PX):
            assert responses[2 * number] == pytest.approx(0, abs=1e-6)
            assert responses[2 * number + 1] == pytest.approx(sign * (sigma_px / 100) ** 2, rel=1e-3)
    bowl = 0.5 * (x**2 + y**2)
    assert appearance.filter_responses(bowl[..., None])[40, 40, 0, 7] == pytest.approx(2 * (4 / 100) ** 2, rel=1e-3)


def test_the_filters_are_those_of_scipy():
    from scipy import ndimage

    frames = np.random.default_rng(3).random((50, 60, 2)).astype(np.float32) * [0.1, 1]
    picture = frames[..., 1]
    responses = appearance.filter_responses(frames.astype(np.float32))[:, :, 1]
    blurred = ndimage.gaussian_filter(picture.astype(float), appearance.TEXTON_SIGMAS_PX[-1], mode="mirror")
    np.testing.assert_allclose(responses[..., 6], blurred - picture.mean(), atol=1e-3)
    for number, sigma_px in enumerate(appearance.TEXTON_SIGMAS_PX[1:], start=1):
        derivative = {
            order: ndimage.gaussian_filter(picture.astype(float), sigma_px, order, mode="mirror")
            for order in ((0, 1), (1, 0), (0, 2), (2, 0), (1, 1))
        }
        np.testing.assert_allclose(
            responses[..., 2 * number], sigma_px * np.hypot(derivative[0, 1], derivative[1, 0]), atol=3e-3
        )
        matrices = np.stack([[derivative[0, 2], derivative[1, 1]], [derivative[1, 1], derivative[2, 0]]])
        eigenvalues = np.linalg.eigvalsh(np.moveaxis(matrices, (0, 1), (2, 3)))
        largest = np.abs(eigenvalues).max(axis=-1)
        np.testing.assert_allclose(np.abs(responses[..., 2 * number + 1]), sigma_px**2 * largest, atol=4e-3)


def test_textons_are_the_compressed_responses_at_their_places():
    """Weber's law: a response of length L gets the length log(1 + L / 0.03), in the same direction."""
    grey = np.random.default_rng(4).integers(0, 256, (8, 40, 60), np.uint8)
    found = appearance.textons(grey, [1, 6])
    assert len(found.descriptors) == 2 * appearance.GRID**2
    for number in range(0, len(found.descriptors), 37):
        frame, y, x = (found.positions[number] * grey.shape).astype(int)
        assert frame in (1, 6)
        response = appearance.filter_responses((grey[frame] / 255).astype(np.float32)[..., None])[y, x, 0]
        length = np.linalg.norm(response)
        expected = response / length * np.log(1 + length / 0.03)
        np.testing.assert_allclose(found.descriptors[number], expected, rtol=1e-3, atol=1e-4)


# Cuboids


def test_a_cuboid_is_that_of_plain_loops():
    from scipy import ndimage

    grey = np.random.default_rng(5).integers(0, 256, (16, SIZE, SIZE), np.uint8)
    sigma_px = SIZE / 85
    smooth = ndimage.gaussian_filter(grey.astype(float), (0, sigma_px, sigma_px), mode="mirror")
    gradients = np.gradient(smooth)
    found = motion.cuboids(grey)
    places = (found.positions * grey.shape).astype(int)
    inside = ((places >= [4, 8, 8]) & (places < [12, 52, 52])).all(axis=1)
    assert inside.sum() >= 5
    for (t, y, x), descriptor in list(zip(places[inside], found.descriptors[inside], strict=True))[:5]:
        expected = []
        for cell_y in (y - 3, y, y + 3):
            for cell_x in (x - 3, x, x + 3):
                for first in (t - 3, t):
                    cell = np.s_[first : first + 3, cell_y - 1 : cell_y + 2, cell_x - 1 : cell_x + 2]
                    for axis in (2, 1, 0):
                        expected += [np.maximum(sign * gradients[axis][cell], 0).mean() for sign in (1, -1)]
        expected = np.minimum(np.array(expected) / np.sqrt(np.square(expected).sum() + 1), 0.2)
        np.testing.assert_allclose(descriptor, expected / np.linalg.norm(expected), atol=2e-3)


def test_the_temporal_filters_answer_nothing_to_what_stands_still_and_the_most_to_their_frequency():
    even, odd = motion.temporal_filters(40)
    np.testing.assert_allclose(even.sum(axis=1), 0, atol=1e-6)
    np.testing.assert_allclose(odd.sum(axis=1), 0, atol=1e-6)

    def energy(frequency, phase=0.7):
        wave = np.sin(2 * np.pi * frequency * np.arange(40) + phase).astype(np.float32)
        return motion.motion_response(wave[None, None])[0, 0, 20]

    gain = np.exp(-(np.arange(-6, 7) ** 2) / 4).sum() / 2  # of a quadrature pair at its own frequency
    for phase in (0, 0.7, np.pi / 2):  # whichever of the pair it falls to
        assert energy(0.25, phase) == pytest.approx(gain**2, rel=0.05)
    assert energy(0.25) > 4 * max(energy(0.05), energy(0.5))


def test_a_still_clip_has_no_cuboid():
    assert len(motion.cuboids(np.repeat(step_edge(30)[None], 16, axis=0)).descriptors) == 0


def test_cuboids_lie_where_an_edge_passes_and_show_its_gradients():
    clip = moving_edge()
    found = motion.cuboids(clip)
    frames, columns = found.positions[:, 0] * 16, found.positions[:, 2] * SIZE
    assert len(found.descriptors) > 10
    np.testing.assert_array_less(np.abs(columns - (14 + 2 * frames)), 6)
    assert len(np.unique(frames.astype(int))) > 3
    # [place, y, x, half, sign and axis]: bright on the left of the edge, and brighter as it passes.
    cells = found.descriptors.reshape(-1, 3, 3, 2, 6)
    positive_x, negative_x, positive_y, negative_y, positive_t, negative_t = np.moveaxis(cells, -1, 0)
    assert not positive_x.any()
    assert not positive_y.any()
    assert not negative_y.any()
    assert not negative_t.any()
    inside = (frames > 4) & (frames < 12)
    assert (negative_x[inside].sum(axis=(1, 2, 3)) > 0).all()
    assert (positive_t[inside].sum(axis=(1, 2, 3)) > 0).all()


def test_played_backwards_time_changes_its_sign():
    forward, backward = (
        motion.cuboids(clip).descriptors.reshape(-1, 18, 6) for clip in (moving_edge(), moving_edge()[::-1])
    )
    assert forward[..., 4].sum() > 0 == forward[..., 5].sum()
    assert backward[..., 5].sum() > 0 == backward[..., 4].sum()


def test_maxima_are_local_and_the_strongest():
    response = np.zeros((30, 30, 8), np.float32)
    for strength, place in ((50, (5, 5, 2)), (40, (6, 6, 3)), (30, (20, 20, 3)), (20, (20, 20, 6)), (3, (28, 2, 1))):
        response[place] = strength
    found = motion.strongest_maxima(response, 2)
    assert found.tolist() == [[2, 5, 5], [3, 20, 20], [6, 20, 20]]  # one too near, one too weak
    many = motion.strongest_maxima(np.full((30, 30, 8), 9, np.float32), 2)
    assert len(many) == motion.CUBOIDS


# Colours


@pytest.mark.parametrize("colour", [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (200, 100, 50), (0, 0, 0)])
def test_a_pure_colour_falls_into_its_bin(colour):
    clip = np.broadcast_to(np.array(colour, np.uint8), (2, 8, 8, 3))
    hue, saturation, _ = colorsys.rgb_to_hsv(*(value / 255 for value in colour))
    expected = int(hue * features.HUES) * features.SATURATIONS + min(int(saturation * 255 / 256 * 8), 7)
    assert (features.hue_saturation_bins(clip) == expected).all()


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 200))
def test_moments_are_those_of_their_definition(seed, pixels):
    values = np.random.default_rng(seed).random((pixels, 3))
    sums = np.stack([(values**power).sum(axis=0) for power in (1, 2, 3)])
    found = features.color_moments(sums, np.array(pixels))
    centred = values - values.mean(axis=0)
    np.testing.assert_allclose(found[:3], values.mean(axis=0), atol=1e-9)
    np.testing.assert_allclose(found[3:6], values.std(axis=0), atol=1e-6)
    np.testing.assert_allclose(found[6:] ** 3, (centred**3).mean(axis=0), atol=1e-9)
