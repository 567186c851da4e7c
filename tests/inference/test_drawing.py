"""Annotated copies, read back."""

import av
import numpy as np
import pytest

import deepvideo_tf as dv
from deepvideo_tf.data.video.decode import read_frames
from deepvideo_tf.data.video.index import read_index
from deepvideo_tf.errors import BadVideoError, ConfigError, DeepVideoError
from deepvideo_tf.inference.drawing import draw_classes


@pytest.fixture(scope="module")
def predictor(small_run):
    return dv.load_predictor(small_run)


def times_of(path):
    return [frame.time_s for frame in read_frames(path)]


def pictures(path):
    return [frame.picture.to_ndarray(format="rgb24") for frame in read_frames(path)]


def test_a_copy_is_the_video_with_bars(predictor, ucf101_6, tmp_path):
    video = ucf101_6 / "videos/Archery/v_Archery_g01_c01.avi"
    moments = []
    dv.annotate_video(predictor, video, tmp_path / "new/copy.mp4", on_moment=moments.append)
    copy = tmp_path / "new/copy.mp4"
    np.testing.assert_allclose(times_of(copy), times_of(video), atol=2e-4)
    first_answer = next(number for number, moment in enumerate(moments) if moment.is_new)
    for number, (came, before) in enumerate(zip(pictures(copy), pictures(video), strict=True)):
        assert came.shape == before.shape == (240, 320, 3)
        assert np.abs(came[150:].astype(int) - before[150:]).mean() < 6  # below the panel nothing is drawn
        if number > first_answer + 1:
            assert came[4:60, 4:60].mean() < 0.8 * before[4:60, 4:60].mean() + 40
    with av.open(str(copy)) as container, av.open(str(video)) as original:
        (sound,) = container.streams.audio
        assert sound.codec_context.codec.canonical_name == "mp3"
        packets = [bytes(packet) for packet in container.demux(sound) if packet.size]
        expected = [bytes(packet) for packet in original.demux(original.streams.audio[0]) if packet.size]
        assert packets == [packet for packet in expected if packet in set(packets)]  # the same ones, in their order
        assert len(packets) > 0.9 * len(expected)
    assert [path.name for path in copy.parent.iterdir()] == ["copy.mp4"]


ODD = {
    "Zulko+moviepy/bitmap.mp4": (240, 240),  # of 1 px
    "Zulko+moviepy/fire2.mp4": (720, 1280),  # upside down, uneven times
    "Zulko+moviepy/pigs_in_a_polka.gif": (272, 314),  # of 273 lines
    "Zulko+moviepy/no_duration.webm": (720, 1280),
    "Zulko+moviepy/transparent.webm": (240, 240),  # its sound is vorbis
    "Zulko+moviepy/video_with_failing_audio.mp4": (360, 640),
}


@pytest.mark.parametrize("name", ODD)
def test_odd_videos_become_copies(predictor, odd_videos, tmp_path, name):
    copy = tmp_path / "copy.mp4"
    dv.annotate_video(predictor, odd_videos / name, copy)
    assert pictures(copy)[0].shape == (*ODD[name], 3)
    assert read_index(copy).duration_s == pytest.approx(read_index(odd_videos / name).duration_s, abs=0.3)
    assert len(times_of(copy)) == len(times_of(odd_videos / name))


@pytest.mark.parametrize("name", ["zero_length.mp4", "text_named.avi", "truncated_300k_of_SOX5yA1l24A.mp4"])
def test_no_copy_of_a_bad_video_is_left(predictor, odd_videos, tmp_path, name):
    with pytest.raises(BadVideoError, match=name):
        dv.annotate_video(predictor, odd_videos / "derived" / name, tmp_path / "copy.mp4")
    assert list(tmp_path.iterdir()) == []


def test_mistakes_are_named(predictor, synthetic_videos, tmp_path):
    video = synthetic_videos / "moves_left/0000.mp4"
    before = video.read_bytes()
    with pytest.raises(ConfigError, match="would replace the video itself"):
        dv.annotate_video(predictor, video, video)
    assert video.read_bytes() == before
    with pytest.raises(ConfigError, match="must end in .mp4"):
        dv.annotate_video(predictor, video, tmp_path / "copy.avi")
    (tmp_path / "file").write_text("x")
    with pytest.raises(DeepVideoError, match="copy.mp4: cannot be written"):
        dv.annotate_video(predictor, video, tmp_path / "file/copy.mp4")


def test_bars_are_as_long_as_probabilities():
    grey = np.full((240, 320, 3), 128, np.uint8)
    drawn = draw_classes(grey, [("a", 1.0), ("b", 0.5), ("c", 0.0)])
    blue = (np.abs(drawn.astype(int) - (60, 120, 216)).sum(axis=2) < 10).sum(axis=1)
    lengths = [blue[row : row + 13].max() for row in (6, 19, 32)]
    assert lengths[1] == pytest.approx(lengths[0] / 2, abs=3)
    assert lengths[2] == 0
    assert (grey == 128).all()  # the original is left alone
    assert draw_classes(grey, []) is grey


def test_long_and_odd_names_stay_within_the_panel():
    grey = np.full((240, 320, 3), 128, np.uint8)
    drawn = draw_classes(grey, [("a very long name of a class " * 9, 0.25), ("日本語 \N{SNOWMAN}", 0.1), ("x\ny", 0.1)])
    assert (drawn[:, 200:] == 128).all()
