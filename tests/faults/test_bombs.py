"""Small files that expand to gigabytes: each refused, with little memory."""

import struct
import subprocess
import sys
import zlib
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from deepvideo_tf.config import DecodeLimits, ShardSpec
from deepvideo_tf.data.video.decode import decode_clips
from deepvideo_tf.data.video.process import DecoderProcess
from deepvideo_tf.errors import BadVideoError

SPEC = ShardSpec(clips_per_video=2)
MAX_GROWTH_BYTES = 256 * 2**20
PIXELS = "pass the limit of 9437184 pixels"

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")


def status_bytes(status, name):
    """A number of a process's status file."""
    return next(1024 * int(line.split()[1]) for line in status.splitlines() if line.startswith(name + ":"))


def peak_bytes(pid):
    """The most memory that a process has held."""
    return status_bytes(Path(f"/proc/{pid}/status").read_text(), "VmHWM")


def grey_video(path, width_px, height_px, frames, codec="libx264", container=None, **options):
    """A video of one grey, which takes next to no space."""
    fast = {"preset": "ultrafast"} if codec == "libx264" else {}
    with av.open(str(path), "w", format=container) as output:
        stream = output.add_stream(codec, rate=25, options=fast | options)
        stream.width, stream.height = width_px, height_px
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(np.full((height_px * 3 // 2, width_px), 128, np.uint8), format="yuv420p")
            frame = frame.reformat(format=stream.pix_fmt)
            frame.pts, frame.time_base = number, Fraction(1, 25)
            output.mux(stream.encode(frame))
        output.mux(stream.encode())
    return path


def png_bomb(path, size_px=16_000):
    """A picture of 768 MB in a megabyte."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", size_px, size_px, 8, 2, 0, 0, 0)
    packer = zlib.compressobj(6)
    lines = b"".join(packer.compress(bytes(1 + 3 * size_px)) for _ in range(size_px)) + packer.flush()
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", lines) + chunk(b"IEND", b""))


def picture_bomb(path, kind, size_px=16_000):
    """A picture of 256 MB or more."""
    Image.new("L" if kind == "JPEG" else "P", (size_px, size_px)).save(path, kind, quality=1)


def index_bomb(path, samples):
    """An mp4 of ten frames whose tables, of a few bytes, tell of many samples, of which FFmpeg makes an index."""
    grey_video(path, 64, 48, 10, codec="mpeg4")
    data = bytearray(path.read_bytes())
    for table, values in ((b"stsz", (1, samples)), (b"stts", (1, samples)), (b"stsc", (1, 1, samples))):
        struct.pack_into(f">{len(values)}I", data, data.index(table) + 8, *values)
    path.write_bytes(data)


def switch_bomb(path):
    """A stream that goes on with frames of 8,000 x 8,000 pixels after small ones."""
    parts = [path.with_suffix(f".{number}") for number in range(2)]
    grey_video(parts[0], 64, 48, 60, container="h264")
    grey_video(parts[1], 8_000, 8_000, 2, container="h264")
    path.write_bytes(b"".join(part.read_bytes() for part in parts))


BOMBS = {
    "jpeg": (lambda path: picture_bomb(path, "JPEG"), PIXELS),
    "gif": (lambda path: picture_bomb(path, "GIF"), PIXELS),
    "png": (png_bomb, PIXELS),
    "mkv": (lambda path: grey_video(path, 12_000, 12_000, 1, container="matroska"), PIXELS),
    "mp4": (lambda path: grey_video(path, 8_000, 8_000, 2, codec="mpeg4"), PIXELS),
    "switch": (switch_bomb, "cannot be decoded|truncated"),
    # 10 KB of which FFmpeg by itself makes 4.8 GB
    "index": (lambda path: index_bomb(path, 80_000_000), "80000000 frames declared, the limit is 1000000"),
    "index below what we allow it": (lambda path: index_bomb(path, 3_000_000), "3000000 frames declared"),
    "index below the limit": (lambda path: index_bomb(path, 1_000_000), "truncated: .* of the 1000000 frames"),
}


@pytest.fixture(scope="module")
def small_video(tmp_path_factory):
    return grey_video(tmp_path_factory.mktemp("small") / "small.mp4", 320, 240, 50)


def growth_bytes(small_video, path, limits=None):
    """What decoding a file adds to the peak of a decoder that has decoded a small video; the reason or the clips."""
    with DecoderProcess(limits) as decoder:
        decoder.decode(small_video, SPEC)
        pid = decoder.pid
        before_bytes = peak_bytes(pid)
        try:
            outcome = decoder.decode(path, SPEC)
        except BadVideoError as error:
            outcome = error.reason
        assert decoder.pid == pid, f"the decoder died: {outcome}"
        growth = peak_bytes(pid) - before_bytes
        assert len(decoder.decode(small_video, SPEC)) == 2  # what it refused leaves nothing behind
    print(f"{path.name}: {growth / 2**20:.0f} MiB")
    return growth, outcome


@pytest.mark.parametrize("kind", BOMBS)
def test_bombs_are_refused(small_video, tmp_path, kind):
    make, reason = BOMBS[kind]
    path = tmp_path / f"{kind}.mp4"
    make(path)
    assert path.stat().st_size < 4e6
    growth, outcome = growth_bytes(small_video, path)
    assert isinstance(outcome, str)
    with pytest.raises(BadVideoError, match=reason):
        raise BadVideoError(path, outcome)
    assert growth < MAX_GROWTH_BYTES


def test_an_index_bomb_is_one(tmp_path):
    """Without a limit FFmpeg makes a large index of the file: the bombs above do test something."""
    index_bomb(tmp_path / "v.mp4", 10_000_000)
    code = "import av, sys; av.open(sys.argv[1]); print(open('/proc/self/status').read())"
    result = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "v.mp4")], capture_output=True, text=True, check=True
    )
    assert status_bytes(result.stdout, "VmHWM") > MAX_GROWTH_BYTES


@pytest.mark.parametrize("codec", ["libx264", "mjpeg", "mpeg4", "gif"])
def test_the_largest_frames_still_decode(small_video, tmp_path, codec):
    """The limits of memory are not for videos within the limits: a container of each kind of order, many references."""
    path = tmp_path / {"libx264": "v.mkv", "gif": "v.gif"}.get(codec, "v.avi")
    if codec == "gif":
        pictures = [Image.new("P", (4090, 2300), number) for number in range(24)]
        pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=40)
    else:
        grey_video(path, 4096, 2304, 24, codec=codec, **({"refs": "16", "bf": "3"} if codec == "libx264" else {}))
    growth, outcome = growth_bytes(small_video, path)
    assert not isinstance(outcome, str), outcome
    assert growth < 2 * MAX_GROWTH_BYTES


def test_each_limit_is_kept(small_video):
    cases = [
        (DecodeLimits(max_video_bytes=small_video.stat().st_size - 1), "bytes pass the limit of"),
        (DecodeLimits(max_frame_pixels=320 * 240 - 1), "frames of 320 x 240 px pass the limit of 76799 pixels"),
        (DecodeLimits(max_video_frames=49), "50 frames declared, the limit is 49"),
        (DecodeLimits(decode_timeout_s=0.001), "decoding took longer than 0.001 s"),
    ]
    for limits, reason in cases:
        with DecoderProcess(limits) as decoder, pytest.raises(BadVideoError, match=reason):
            decoder.decode(small_video, SPEC)
    exact = DecodeLimits(
        max_video_bytes=small_video.stat().st_size, max_frame_pixels=320 * 240, max_video_frames=50
    )  # fmt: skip
    assert len(decode_clips(small_video, SPEC, limits=exact)) == 2


def test_frames_are_counted_where_the_container_does_not(tmp_path):
    video = grey_video(tmp_path / "v.webm", 64, 48, 400, codec="libvpx", threads="1", deadline="realtime")
    with pytest.raises(BadVideoError, match="more frames than the limit of 399"):
        decode_clips(video, SPEC, limits=DecodeLimits(max_video_frames=399))
    assert len(decode_clips(video, SPEC, limits=DecodeLimits(max_video_frames=400))) == 2
