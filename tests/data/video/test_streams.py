"""Clips that frames make as they come, against the clips that the same video gives as a file."""

from dataclasses import replace

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import deepvideo_tf as dv
from deepvideo_tf.data.video.cameras import camera_frames
from deepvideo_tf.data.video.clip_window import ClipWindow
from deepvideo_tf.data.video.decode import Frame, decode_clips, read_frames
from deepvideo_tf.data.video.index import read_index
from deepvideo_tf.errors import BadVideoError, ConfigError

SHARDS = dv.ShardSpec(clips_per_video=1, clip_frames=16, frame_rate_fps=25, frame_size_px=36)
CLIP = dv.ClipSpec(num_frames=10, crop_size_px=32)


def grey_frame(time_s, value):
    return Frame(time_s, av.VideoFrame.from_ndarray(np.full((36, 36, 3), value, np.uint8), format="rgb24"))


def clips_of(frames, *, shards=SHARDS, clip=CLIP, hop_s=0.04):
    window = ClipWindow("video", shards, clip, hop_s=hop_s)
    clips = [made for frame in frames for made in window.push(frame)]
    return clips + window.finish()


def values(clip):
    return clip[:, 0, 0, 0].tolist()


def test_frames_of_the_rate_become_every_clip():
    clips = clips_of(grey_frame(n / 25, n) for n in range(14))
    assert [values(clip) for clip in clips] == [list(range(start, start + 10)) for start in range(5)]
    assert clips[0].shape == (10, 32, 32, 3)
    clips = clips_of((grey_frame(n / 25, n) for n in range(30)), hop_s=0.2)
    assert [values(clip)[0] for clip in clips] == [0, 5, 10, 15, 20]


def test_frames_of_other_rates_are_picked_by_time():
    fast = clips_of(grey_frame(n / 50, n) for n in range(20))
    assert values(fast[0]) == list(range(0, 20, 2))
    slow = clips_of(grey_frame(n / 12.5, n) for n in range(6))
    assert values(slow[0]) == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]


def test_a_stride_skips_stored_frames():
    late = dv.ClipSpec(num_frames=2, frame_stride=15, crop_size_px=32)
    assert [values(clip) for clip in clips_of((grey_frame(n / 25, n) for n in range(17)), clip=late)] == [
        [0, 15],
        [1, 16],
    ]


def test_a_short_video_holds_its_last_frame():
    assert [values(clip) for clip in clips_of([grey_frame(0, 7)])] == [[7] * 10]
    assert [values(clip) for clip in clips_of(grey_frame(n / 25, n) for n in range(3))] == [[0, 1] + [2] * 8]
    assert clips_of([]) == []


def test_a_pause_of_years_is_cut_short():
    clips = clips_of([grey_frame(0, 1), grey_frame(1e9, 2)])
    assert 1 <= len(clips) <= 10 * 25 + 10
    assert values(clips[-1]) == [1] * 9 + [2]


@given(
    gaps_ms=st.lists(st.integers(5, 300), max_size=60),
    num_frames=st.integers(1, 4),
    stride=st.integers(1, 3),
    hop=st.integers(1, 12),
)
@settings(max_examples=60, deadline=None)
def test_any_times_give_the_frames_on_display(gaps_ms, num_frames, stride, hop):
    """Against what the definition says: at every moment, the last frame that is shown by then."""
    times_s = np.concatenate([[0], (np.cumsum(gaps_ms) + 0.5) / 1000])  # none just 2 ms from a moment, nor two near one
    clip = dv.ClipSpec(num_frames=num_frames, frame_stride=stride, crop_size_px=32)
    came = clips_of((grey_frame(time_s, n) for n, time_s in enumerate(times_s)), clip=clip, hop_s=hop / 25)
    grid_s = np.arange(int((times_s[-1] + 0.002) * 25) + 1) / 25
    shown = np.searchsorted(times_s, grid_s + 0.002) - 1
    starts = range(0, len(grid_s) - clip.span + 1, hop)
    expected = [shown[start : start + clip.span : stride].tolist() for start in starts]
    if expected:
        assert [values(one) for one in came] == expected


def test_a_real_video_gives_the_clips_of_its_file(ucf101_6):
    """Streamed clips are those that the builder of shards takes, pixel by pixel."""
    video = ucf101_6 / "videos/Archery/v_Archery_g01_c01.avi"
    index = read_index(video)
    spec = replace(SHARDS, clips_per_video=1000)
    stored = decode_clips(video, spec, encode=False, index=index)
    clip = dv.ClipSpec(num_frames=16, crop_size_px=32)
    streamed = clips_of(read_frames(video), clip=clip)
    by_start = {round(one.start_s * 25): np.stack(one.frames)[:, 2:34, 2:34] for one in stored}
    compared = 0
    for start, came in enumerate(streamed):
        at_grid = [one for one in stored if abs(one.start_s * 25 - start) < 0.01]
        for one in at_grid:
            np.testing.assert_array_equal(came, by_start[round(one.start_s * 25)])
            compared += 1
    assert compared > 10
    assert len(streamed) == pytest.approx(index.duration_s * 25 - 15, abs=2)


def test_frames_come_with_their_times(ucf101_6):
    video = ucf101_6 / "videos/Surfing/v_Surfing_g01_c01.avi"
    frames = list(read_frames(video))
    index = read_index(video)
    np.testing.assert_allclose([frame.time_s for frame in frames], np.array(index.times_s) - index.times_s[0])


def test_damage_is_told_after_the_frames_before_it(odd_videos):
    seen = []
    with pytest.raises(BadVideoError, match="truncated"):
        seen.extend(read_frames(next(odd_videos.glob("derived/bitflipped*.avi"))))
    with pytest.raises(BadVideoError, match="no such file"):
        next(read_frames("nowhere.mp4"))


def test_hops_below_a_frame_are_refused():
    with pytest.raises(ConfigError, match="hop_s must be"):
        ClipWindow("video", SHARDS, CLIP, hop_s=0)


class TestCamera:
    def test_one_that_is_not_there(self):
        pytest.importorskip("cv2")
        with pytest.raises(BadVideoError, match="camera 63: it is not there, or in use"):
            next(camera_frames(63))

    def test_frames_of_a_file_in_its_place(self, ucf101_6, monkeypatch):
        """OpenCV reads a file where a machine without a camera has none; the pixels are those of PyAV."""
        cv2 = pytest.importorskip("cv2")
        video = ucf101_6 / "videos/Archery/v_Archery_g01_c01.avi"
        opened = cv2.VideoCapture
        monkeypatch.setattr(cv2, "VideoCapture", lambda number: opened(str(video)))
        frames: list[Frame] = []
        with pytest.raises(BadVideoError, match="camera 0: it gives no more frames"):
            frames.extend(camera_frames(0))
        times_s = [frame.time_s for frame in frames]
        assert times_s == sorted(times_s)
        expected = list(read_frames(video))
        assert abs(len(frames) - len(expected)) <= 2
        came, right = (one[0].picture.to_ndarray(format="rgb24").astype(int) for one in (frames, expected))
        assert np.abs(came - right).mean() < 3

    def test_the_extra_is_named(self, monkeypatch):
        monkeypatch.setitem(__import__("sys").modules, "cv2", None)
        with pytest.raises(ConfigError, match="deepvideo-tf\\[camera\\]"):
            next(camera_frames(0))
