from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepvideo_tf.config import ClipSpec
from deepvideo_tf.data.sampling import MAX_VIEWS, clip_starts_s, evaluation_views, middle_frames, view_boxes


@given(st.floats(0, 1e5), st.integers(1, 200), st.integers(16, 100), st.floats(1, 120))
def test_clips_lie_within_the_video_and_differ(duration_s, clips, clip_frames, frame_rate_fps):
    starts = clip_starts_s(duration_s, clips=clips, clip_frames=clip_frames, frame_rate_fps=frame_rate_fps)
    assert 1 <= len(starts) <= clips
    assert starts[0] >= 0
    length_s = clip_frames / frame_rate_fps
    assert all(start + length_s <= max(duration_s, length_s) * (1 + 1e-9) for start in starts)
    assert all(later - earlier >= 0.99 / frame_rate_fps for earlier, later in pairwise(starts))


def test_clips_are_spread_from_end_to_end():
    assert clip_starts_s(10.0, clips=3, clip_frames=50, frame_rate_fps=25) == [0.0, 4.0, 8.0]
    assert clip_starts_s(10.0, clips=1, clip_frames=50, frame_rate_fps=25) == [4.0]
    assert clip_starts_s(1.0, clips=3, clip_frames=50, frame_rate_fps=25) == [0.0]


def test_the_papers_four_views():
    """Section 4.1: different crops and flips."""
    assert view_boxes(200, 170, 4, True) == [(15, 15, False), (0, 0, True), (30, 30, False), (0, 30, True)]
    assert not any(mirrored for _, _, mirrored in view_boxes(200, 170, 4, False))


@given(st.integers(16, 400), st.data(), st.integers(1, MAX_VIEWS), st.booleans())
def test_views_lie_within_the_frame(frame_size_px, data, num_views, flip):
    crop_size_px = data.draw(st.integers(11, frame_size_px))
    boxes = view_boxes(frame_size_px, crop_size_px, num_views, flip)
    assert len(boxes) == num_views
    assert all(0 <= edge <= frame_size_px - crop_size_px for top, left, _ in boxes for edge in (top, left))


@pytest.mark.parametrize(
    ("stored", "num_frames", "stride", "frames"),
    [(16, 1, 1, [7]), (16, 10, 1, list(range(3, 13))), (16, 2, 15, [0, 15]), (16, 4, 3, [3, 6, 9, 12])],
)
def test_the_middle(stored, num_frames, stride, frames):
    clip = ClipSpec(num_frames=num_frames, frame_stride=stride)
    assert list(range(stored))[middle_frames(stored, clip)] == frames


def test_evaluation_views_are_cuts_of_the_middle_frames():
    stored = np.random.default_rng(0).integers(0, 256, (16, 36, 36, 3), dtype=np.uint8)
    center, top_left = evaluation_views(stored, ClipSpec(num_frames=10, crop_size_px=32), 2)
    np.testing.assert_array_equal(center, stored[3:13, 2:34, 2:34])
    np.testing.assert_array_equal(top_left, stored[3:13, :32, 31::-1])
