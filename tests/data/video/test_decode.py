import io
import os
import signal
import socket
import sys
import time

import av
import numpy as np
import pytest
from PIL import Image

from deepvideo_tf.config import DecodeLimits, ShardSpec
from deepvideo_tf.data.video.decode import decode_clips
from deepvideo_tf.data.video.process import DecoderProcess
from deepvideo_tf.errors import BadVideoError, ConfigError
from deepvideo_tf.execution import worker_process
from tests.support.videos import write_video

BROKEN = {
    "derived/bitflipped_v_Surfing_g01_c01.avi": "truncated: 12 of the 254 frames it declares",
    "derived/text_named.avi": "cannot be decoded",
    "derived/truncated_150k_of_v_Archery_g01_c01.avi": "truncated: 39 of the 131 frames it declares",
    "derived/truncated_300k_of_SOX5yA1l24A.mp4": "cannot be decoded",
    "derived/truncated_40k_of_bbb.webm": "truncated: 0.04 s of the 1.00 s it declares",
    "derived/zero_length.mp4": "the file is empty",
    "dmlc+decord/corrupted.mp4": "cannot be decoded",
    "mathiasbynens+small/mp4-with-audio.mp4": "no video stream",
    "mathiasbynens+small/gif.gif": "no frame decodes",
    "mathiasbynens+small/AudioVideoInterleave.avi": "no video frames",
}
WHOLE = [
    "IBM+MAX-Sports-Video-Classifier/basketball.mp4",  # an edit list hides its first frames
    "Zulko+moviepy/no_duration.webm",
    "Zulko+moviepy/pigs_in_a_polka.gif",
    "Zulko+moviepy/-video-with-dash-.mp4",  # 1 x 1 px
    "pytorch+torchcodec/av1_video.mkv",
    "pytorch+torchcodec/h265_10bits.mp4",
    "pytorch+torchcodec/bt709_full_range.mp4",
    "scikit-video+scikit-video/chroma1.mp4",  # 4:4:4
    "AleksMa+UCF11-classifier/v_biking_01_01.mpg",
    "ROCm+vision/TrumanShow_wave_f_nm_np1_fr_med_26.avi",  # variable frame rate
]


def grey_frames(values, size_px=32):
    return np.repeat(np.uint8(values), size_px * size_px * 3).reshape(len(values), size_px, size_px, 3)


def shown(clip):
    """The grey value of each frame of a clip."""
    return [int(frame.mean().round()) for frame in clip.frames]


def test_frames_are_chosen_by_time(tmp_path):
    video = write_video(tmp_path / "v.mp4", grey_frames(range(0, 200, 4)))  # 50 frames, 25 a second
    spec = ShardSpec(clips_per_video=2, frame_size_px=32)
    first, last = decode_clips(video, spec, encode=False)
    assert (first.start_s, round(last.start_s, 6)) == (0.0, 1.36)
    assert shown(first) == list(range(0, 64, 4))
    assert shown(last) == list(range(136, 200, 4))
    (half,) = decode_clips(video, ShardSpec(clips_per_video=1, frame_size_px=32, frame_rate_fps=12.5), encode=False)
    assert shown(half) == list(range(36, 164, 8))


def test_uneven_times_show_the_frame_that_is_on_display(tmp_path):
    times = [0.0, 0.04, 0.5, 0.54, 1.0]
    video = write_video(tmp_path / "v.mp4", grey_frames([10, 20, 30, 40, 50]), times=times)
    (clip, *_) = decode_clips(video, ShardSpec(clips_per_video=9, frame_size_px=32, frame_rate_fps=10), encode=False)
    expected = [10, 20, 20, 20, 20, 30, 40, 40, 40, 40, 50]
    assert shown(clip)[: len(expected)] == expected


def test_a_short_video_holds_its_last_frame(tmp_path):
    video = write_video(tmp_path / "v.mp4", grey_frames([10, 90, 200]))
    (clip,) = decode_clips(video, ShardSpec(frame_size_px=32), encode=False)
    assert shown(clip) == [10, 90] + [200] * 14


def test_jumbled_time_stamps_keep_the_decoders_order(ucf101_6):
    """43 files of UCF-101's six classes carry stamps that are wrong one by one (MPEG-4 with packed B-frames)."""
    video = ucf101_6 / "videos/Archery/v_Archery_g03_c01.avi"
    with av.open(str(video)) as container:
        frames = [(frame.time, frame.to_ndarray(format="gray").astype(int)) for frame in container.decode(video=0)]
    assert [time for time, _ in frames] != sorted(time for time, _ in frames)
    clips = decode_clips(video, ShardSpec(clips_per_video=1, frame_size_px=64), encode=False)
    pixels = np.stack(clips[0].frames).astype(int).mean(axis=-1)
    steps = np.abs(np.diff(pixels, axis=0)).mean()
    two_steps = np.abs(pixels[2:] - pixels[:-2]).mean()
    assert steps < two_steps  # in the order of the stamps neighbours are further apart than every second frame


def test_centre_square_and_size(tmp_path):
    frames = np.zeros((20, 40, 80, 3), np.uint8)
    frames[:, :, 20:60] = 200  # exactly the centre square
    (clip, *_) = decode_clips(write_video(tmp_path / "v.mp4", frames), ShardSpec(frame_size_px=20), encode=False)
    assert clip.frames[0].shape == (20, 20, 3)
    assert clip.frames[0][:, 1:-1].min() >= 198


def test_encoded_frames_are_the_same_pictures(tmp_path):
    video = write_video(tmp_path / "v.mp4", grey_frames(range(0, 200, 4)))
    spec = ShardSpec(clips_per_video=1, frame_size_px=32)
    (encoded,), (plain,) = decode_clips(video, spec), decode_clips(video, spec, encode=False)
    for file, pixels in zip(encoded.frames, plain.frames, strict=True):
        assert np.abs(np.asarray(Image.open(io.BytesIO(file))).astype(int) - pixels).max() <= 2


@pytest.mark.parametrize("name", BROKEN)
def test_broken_files_give_a_reason(odd_videos, name):
    with pytest.raises(BadVideoError) as caught:
        decode_clips(odd_videos / name, ShardSpec(clips_per_video=2, frame_size_px=32))
    assert BROKEN[name] in caught.value.reason
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", WHOLE)
def test_odd_but_whole_files_give_whole_clips(odd_videos, name):
    spec = ShardSpec(clips_per_video=2, frame_size_px=32)
    for clip in decode_clips(odd_videos / name, spec, encode=False):
        assert [frame.shape for frame in clip.frames] == [(32, 32, 3)] * spec.clip_frames


def test_rotation_flags_are_honoured(odd_videos):
    video = odd_videos / "dmlc+decord/video_180.mov"
    with av.open(str(video)) as container:
        stored = next(container.decode(video=0)).to_ndarray(format="rgb24")
    left = (stored.shape[1] - stored.shape[0]) // 2
    square = Image.fromarray(stored[:, left : left + stored.shape[0]])
    (clip,) = decode_clips(video, ShardSpec(), encode=False)
    turned = np.asarray(square.rotate(180).resize((200, 200)), dtype=int)
    as_stored = np.asarray(square.resize((200, 200)), dtype=int)
    assert np.abs(turned - clip.frames[0]).mean() < 5 < np.abs(as_stored - clip.frames[0]).mean()


@pytest.mark.parametrize("angle", [90, 270])
def test_quarter_turns(odd_videos, angle):
    """A quarter turn commutes with the centre square, so that the stored frame turned by hand must be the same."""
    video = odd_videos / f"dmlc+decord/video_{angle}.mov"
    with av.open(str(video)) as container:
        frame = next(container.decode(video=0))
        stored, rotation = frame.to_ndarray(format="rgb24"), frame.rotation
    assert rotation == {90: -90, 270: 90}[angle]
    left = (stored.shape[1] - stored.shape[0]) // 2
    square = Image.fromarray(stored[:, left : left + stored.shape[0]])
    (clip,) = decode_clips(video, ShardSpec(), encode=False)
    turned = np.asarray(square.rotate(rotation).resize((200, 200)), dtype=int)  # Pillow turns counter-clockwise too
    assert np.abs(turned - clip.frames[0]).mean() < 5


def ramp_video(path):
    """4 s, 25 frames a second, each frame 2 brighter than the one before; a container that seeks."""
    return write_video(path, grey_frames(range(0, 200, 2)))


@pytest.mark.parametrize(
    ("part", "starts_s", "first", "last"),
    [
        ({"start_s": 1.0}, [1.0, 3.36], 50, 198),
        ({"end_s": 2.0}, [0.0, 1.36], 0, 98),
        ({"start_s": 1.0, "end_s": 3.0}, [1.0, 2.36], 50, 148),
        ({"start_s": 1.0, "end_s": 1.2}, [1.0], 50, 58),  # shorter than a clip: holds its last frame
        ({"start_s": 3.0, "end_s": 99.0}, [3.0, 3.36], 150, 198),
        ({"start_s": 0.0, "end_s": 0.01}, [0.0], 0, 0),
    ],
)
def test_a_part_of_a_video(tmp_path, part, starts_s, first, last):
    video, spec = ramp_video(tmp_path / "v.mp4"), ShardSpec(clips_per_video=2, frame_size_px=32)
    clips = decode_clips(video, spec, encode=False, **part)
    assert [round(clip.start_s, 6) for clip in clips] == starts_s
    assert (shown(clips[0])[0], shown(clips[-1])[-1]) == (first, last)
    with DecoderProcess() as decoder:
        there = decoder.decode(video, spec, encode=False, **part)
    assert [shown(clip) for clip in there] == [shown(clip) for clip in clips]


@pytest.mark.parametrize("part", [{"start_s": 4.5}, {"start_s": 4.0}, {"start_s": 2.0, "end_s": 1.0}])
def test_a_part_behind_the_end(tmp_path, part):
    with pytest.raises(BadVideoError, match=r"it ends at (4.00|1.00) s: nothing is left from (4.5|4|2) s on"):
        decode_clips(ramp_video(tmp_path / "v.mp4"), ShardSpec(), **part)


def test_a_cover_is_no_video(tmp_path):
    """A sound file's picture; FFmpeg tells of it as a video stream of one frame."""
    with io.BytesIO() as file:
        Image.new("RGB", (64, 64), "red").save(file, "JPEG")
        picture = b"\0image/jpeg\0\x03\0" + file.getvalue()  # Latin-1, type, front cover, no description
    frame = b"APIC" + len(picture).to_bytes(4, "big") + b"\0\0" + picture
    tag = b"ID3\x03\0\0" + bytes(len(frame) >> shift & 127 for shift in (21, 14, 7, 0)) + frame
    sound = (b"\xff\xfb\x90\x64" + bytes(413)) * 40  # frames of silence
    (tmp_path / "song.mp3").write_bytes(tag + sound)
    with av.open(str(tmp_path / "song.mp3")) as container:
        assert len(container.streams.video) == 1
    with pytest.raises(BadVideoError, match="no video stream"):
        decode_clips(tmp_path / "song.mp3", ShardSpec())


def test_gaps_between_frames_that_declare_their_duration(tmp_path):
    """FFmpeg goes on behind a damaged part of a Matroska file as if nothing were missing."""
    times = [number / 25 for number in (*range(40), *range(70, 110))]
    video = write_video(tmp_path / "v.mkv", grey_frames([100] * 80), codec="mpeg4", times=times)
    with pytest.raises(BadVideoError, match="truncated: 3.20 s of frames in the 4.36 s from first to last"):
        decode_clips(video, ShardSpec())
    assert decode_clips(video, ShardSpec(), limits=DecodeLimits(use_truncated=True))
    other = write_video(tmp_path / "v.mp4", grey_frames([100] * 80), codec="mpeg4", times=times)
    assert decode_clips(other, ShardSpec())  # tells of each frame how long it lasts


def test_an_unknown_codec(tmp_path):
    video = write_video(tmp_path / "v.mkv", grey_frames(range(0, 200, 4)), codec="mpeg4")
    video.write_bytes(video.read_bytes().replace(b"V_MPEG4/ISO/ASP", b"V_MPEG4/ISO/XXX"))
    with pytest.raises(BadVideoError, match="no decoder for its video stream"):
        decode_clips(video, ShardSpec())


def test_a_playlist_fetches_nothing(tmp_path):
    """A text under a video's name could make FFmpeg call a host of its choosing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0)
        address = f"http://127.0.0.1:{server.getsockname()[1]}/a.ts"
        playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{address}\n#EXT-X-ENDLIST\n"
        for name in ("v.mp4", "v.m3u8"):
            (tmp_path / name).write_text(playlist)
            with pytest.raises(BadVideoError, match="cannot be decoded"):
                decode_clips(tmp_path / name, ShardSpec())
        with pytest.raises(BlockingIOError):
            server.accept()


@pytest.mark.parametrize("name", ["a:b.mp4", "-v.mp4", "img%03d.mp4", "ünïcode 映像.mp4"])
def test_strange_names(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    write_video(tmp_path / "v.mp4", grey_frames(range(0, 200, 4))).rename(tmp_path / name)
    assert len(decode_clips(name, ShardSpec(clips_per_video=2))) == 2


def test_missing_files():
    with pytest.raises(BadVideoError, match="no such file"):
        decode_clips("/nowhere/a.mp4", ShardSpec())


class TestProcess:
    SPEC = ShardSpec(clips_per_video=2, frame_size_px=32)

    def test_gives_what_decoding_here_gives(self, ucf101_6):
        video = ucf101_6 / "videos/Surfing/v_Surfing_g01_c01.avi"
        with DecoderProcess() as decoder:
            for encode in (True, False):
                there, here = (
                    decoder.decode(video, self.SPEC, encode=encode),
                    decode_clips(video, self.SPEC, encode=encode),
                )
                assert [clip.start_s for clip in there] == [clip.start_s for clip in here]
                for left, right in zip(there, here, strict=True):
                    assert all(np.array_equal(a, b) for a, b in zip(left.frames, right.frames, strict=True))

    def test_survives_bad_files(self, odd_videos):
        with DecoderProcess() as decoder:
            for name, reason in BROKEN.items():
                with pytest.raises(BadVideoError, match=reason):
                    decoder.decode(odd_videos / name, self.SPEC)
            assert len(decoder.decode(odd_videos / WHOLE[0], self.SPEC)) == 2

    def test_is_killed_at_its_time_limit_and_started_again(self, odd_videos):
        with DecoderProcess(DecodeLimits(decode_timeout_s=0.01)) as decoder:
            start = time.monotonic()
            with pytest.raises(BadVideoError, match=r"longer than 0.01 s"):
                decoder.decode(odd_videos / "Zulko+moviepy/smpte-2997.mp4", self.SPEC)
            assert time.monotonic() - start < 60
            decoder.limits = DecodeLimits()
            assert len(decoder.decode(odd_videos / WHOLE[0], self.SPEC)) == 2

    def test_says_how_it_died(self, odd_videos, monkeypatch):
        dies = [sys.executable, "-c", "import sys; sys.exit('out of order')"]
        monkeypatch.setattr(worker_process, "module_command", lambda module: dies)
        with DecoderProcess() as decoder, pytest.raises(BadVideoError, match="ended with status 1: out of order"):
            decoder.decode(odd_videos / WHOLE[0], self.SPEC)

    def test_a_decoder_that_is_killed_once_costs_no_video(self, odd_videos):
        with DecoderProcess() as decoder:
            decoder.decode(odd_videos / WHOLE[0], self.SPEC)
            os.kill(decoder.pid, signal.SIGKILL)
            assert len(decoder.decode(odd_videos / WHOLE[0], self.SPEC)) == 2

    def test_a_decoder_that_is_killed_twice_costs_one_video(self, odd_videos, monkeypatch):
        dies = [sys.executable, "-c", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"]
        with DecoderProcess() as decoder:
            with monkeypatch.context() as patched:
                patched.setattr(worker_process, "module_command", lambda module: dies)
                with pytest.raises(BadVideoError, match="ended with status -9"):
                    decoder.decode(odd_videos / WHOLE[0], self.SPEC)
            assert len(decoder.decode(odd_videos / WHOLE[0], self.SPEC)) == 2

    def test_refuses_a_bad_limit(self):
        for timeout_s in (0, -1, float("nan"), float("inf")):
            with pytest.raises(ConfigError, match="decode_timeout_s must be above 0"):
                DecodeLimits(decode_timeout_s=timeout_s)
