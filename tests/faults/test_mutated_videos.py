"""Damaged videos: each gives whole clips or a reason, in time, and no clips where its container betrays a loss."""

import json
import random
import re
import subprocess
import sys
import time

import av
import pytest

from deepvideo_tf.config import DecodeLimits, ShardSpec
from deepvideo_tf.data.video.process import DecoderProcess
from deepvideo_tf.errors import BadVideoError

DECODE_TIMEOUT_S = 5.0
# So many clips that every frame of the sources is in one: what is lost cannot hide between them.
SPEC = ShardSpec(clips_per_video=30, frame_size_px=32)
SOURCES = [
    "PaddlePaddle+PaddleVideo/example.avi",
    "ROCm+vision/RATRACE_wave_f_nm_np1_fr_goo_37.avi",  # packed B-frames
    "Zulko+moviepy/transparent.webm",
    "Zulko+moviepy/no_duration.webm",
    "huggingface+datasets/test_video_66x50.mov",  # an edit list
    "imageio+imageio-binaries/realshort.mp4",
    "yysijie+st-gcn/ta_chi.mp4",
]
# Counts by other means than the package's, in a process of its own: the frames that decode, past all errors, the
# packets, and what the container declares.
COUNT = """
import av, json, sys
for path in sys.stdin:
    found = {"frames": 0, "packets": 0, "declared": 0, "discarded": 0}
    try:
        with av.open(path.strip(), metadata_errors="replace") as container:
            stream = container.streams.video[0]
            found["declared"] = stream.frames
            for packet in container.demux(stream):
                found["packets"] += packet.size > 0
                found["discarded"] += packet.is_discard
                try:
                    found["frames"] += len(packet.decode())
                except av.FFmpegError:
                    pass
    except Exception as error:
        found["error"] = str(error)
    print(json.dumps(found), flush=True)
"""


def truncated(data, rng):
    return data[: rng.randrange(1, len(data))]


def bit_flipped(data, rng):
    for _ in range(rng.choice([1, 10, 100])):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return data


def zeroed(data, rng):
    start, length = rng.randrange(len(data)), rng.choice([16, 1000, len(data) // 5])
    end = min(len(data), start + length)
    data[start:end] = bytes(end - start)
    return data


def header_damaged(data, rng):
    """Changes bytes of the header: at the beginning, and where an mp4 keeps its tables."""
    moov = data.find(b"moov")
    starts_lengths = [(0, min(400, len(data)))] + ([(moov, min(3000, len(data) - moov))] if moov >= 0 else [])
    start, length = rng.choice(starts_lengths)
    for _ in range(rng.choice([1, 4, 16])):
        data[start + rng.randrange(length)] = rng.choice([0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)])
    return data


MUTATIONS = [truncated, bit_flipped, zeroed, header_damaged]


def mutated_videos(odd_videos, folder, number):
    """Yields the paths of damaged videos, one at a time, and of its source."""
    sources = [(odd_videos / name, (odd_videos / name).read_bytes()) for name in SOURCES]
    for count in range(number):
        rng = random.Random(count)
        mutate = MUTATIONS[count % len(MUTATIONS)]
        source, data = sources[count // len(MUTATIONS) % len(sources)]
        path = folder / f"{count:04d}-{mutate.__name__}{source.suffix}"
        path.write_bytes(mutate(bytearray(data), rng))
        yield path, source


class Counter:
    """Counts frames in another process, which may die of a file; then the file is not counted."""

    def __init__(self):
        self.process = None

    def count(self, path):
        if self.process is None:
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
            self.process = subprocess.Popen([sys.executable, "-c", COUNT], text=True, **pipes)
        self.process.stdin.write(f"{path}\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            self.close()
        return json.loads(line) if line else None

    def close(self):
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
            self.process = None


def check_whole(clips, found, source_frames=0):
    """Clips are whole, and nearly all frames of which the container tells decode, or that the source had."""
    assert 1 <= len(clips) <= SPEC.clips_per_video
    for clip in clips:
        assert [frame.shape for frame in clip.frames] == [(32, 32, 3)] * SPEC.clip_frames
    if found is None:
        return
    assert "error" not in found
    told = max(found["declared"], found["packets"])
    assert found["frames"] >= 0.95 * (told - found["discarded"]) - 3, found
    assert found["frames"] >= 0.85 * source_frames - 3, f"{found} of {source_frames}"


def check_mutated(odd_videos, folder, number):
    """Decodes damaged videos; returns how many gave clips, and the longest time that one took."""
    whole, longest_s, wrong = 0, 0.0, {}
    counter = Counter()
    try:
        with DecoderProcess(DecodeLimits(decode_timeout_s=DECODE_TIMEOUT_S)) as decoder:
            for path, source in mutated_videos(odd_videos, folder, number):
                start_s = time.monotonic()
                clips, reason = None, ""
                try:
                    clips = decoder.decode(path, SPEC, encode=False)
                except BadVideoError as error:
                    reason = error.reason
                took_s = time.monotonic() - start_s
                longest_s = max(longest_s, took_s)
                try:
                    assert took_s < DECODE_TIMEOUT_S + 2
                    # A signal or a traceback would be a crash.
                    assert not re.search(r"ended with status|Error:|Traceback|\n", reason), reason
                    assert clips or reason
                    if clips:
                        whole += 1
                        # The headers of these are whole, and tell how much there was, but for one file.
                        is_told = "-truncated" in path.name and source.name != "no_duration.webm"
                        frames = counter.count(source)["frames"] if is_told else 0
                        check_whole(clips, counter.count(path), frames)
                except AssertionError as error:
                    wrong[path.name] = str(error).splitlines()[0]
                path.unlink()
    finally:
        counter.close()
    assert not wrong, "\n".join(f"{name}: {text}" for name, text in wrong.items())
    return whole, longest_s


def test_sources_are_what_they_should_be(odd_videos):
    """Whole, short enough for every frame to be in a clip, and with what the mutations look for."""
    counter = Counter()
    try:
        with DecoderProcess() as decoder:
            for name in SOURCES:
                found = counter.count(odd_videos / name)
                check_whole(decoder.decode(odd_videos / name, SPEC, encode=False), found)
                with av.open(str(odd_videos / name)) as container:
                    duration_s = float(container.duration or 5e6) / av.time_base
                assert duration_s < SPEC.clips_per_video * SPEC.clip_frames / SPEC.frame_rate_fps
    finally:
        counter.close()


def test_mutated_videos(odd_videos, tmp_path):
    whole, _ = check_mutated(odd_videos, tmp_path, 56)
    assert 5 <= whole <= 51  # both outcomes are met


@pytest.mark.long
def test_a_thousand_mutated_videos(odd_videos, tmp_path):
    whole, longest_s = check_mutated(odd_videos, tmp_path, 1000)
    print(f"{whole} of 1000 gave clips; the slowest took {longest_s:.2f} s")
    assert 100 <= whole <= 900
