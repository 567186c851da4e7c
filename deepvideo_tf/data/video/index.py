"""Reading a video file's packets, undecoded: when its frames are shown, and whether the file is whole.

Untrusted files belong in `process`, whose decoder can be killed.
"""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from deepvideo_tf.config import DecodeLimits
from deepvideo_tf.errors import BadVideoError

# Containers that store when each frame is shown, and where the key frames are. The stamps of the others are sorted, and
# they are decoded from the beginning.
EXACT_CONTAINERS = ("mov,mp4", "matroska,webm")
# What may be missing from a whole file: containers round their durations, and count frames that hold nothing.
DURATION_SLACK_S, SLACK_FRACTION = 0.5, 0.02
STAMP_ROUNDING_S = 0.002  # and their time stamps, Matroska's to milliseconds: 0.0667 s must find the frame at 0.067

VideoFile = str | os.PathLike[str]


@dataclass(frozen=True)
class VideoIndex:
    """When the frames of a video are shown.

    Args:
        times_s: of all frames that are shown, ascending, seconds.
        key_times_s: of those that decoding can start from, ascending; empty where seeking is not to be trusted.
        frame_s: mean distance of two frames, seconds.
    """

    times_s: list[float]
    key_times_s: list[float]
    frame_s: float

    @property
    def duration_s(self) -> float:
        """From the first frame to the end of the last one."""
        return self.times_s[-1] - self.times_s[0] + self.frame_s


def read_index(path: VideoFile, limits: DecodeLimits | None = None) -> VideoIndex:
    """Read when the frames of a video are shown, undecoded.

    Args:
        path: the video file.
        limits: what the video may cost; None for the defaults.

    Returns:
        A `VideoIndex`.

    Raises:
        BadVideoError: the file is not a video, ends before its container says, or passes a limit.
    """
    import av  # here, so that programs that decode in another process do not load FFmpeg

    limits = limits or DecodeLimits()
    _check_file(path, limits)
    with reasons(path, limits):
        container, stream = open_stream(path, limits)
        with container:
            if stream.frames > limits.max_video_frames:
                raise BadVideoError(
                    str(path), f"{stream.frames} frames declared, the limit is {limits.max_video_frames}"
                )
            packets = _read_packets(path, container, stream, limits)
            if not limits.use_truncated:
                packets.check_whole(path, stream.frames, (container.duration or 0) / av.time_base)
                if container.format.name.startswith("matroska"):
                    packets.check_without_gaps(path, stream.time_base)
            return _index_of(packets, container, stream)


def _check_file(path: VideoFile, limits: DecodeLimits) -> None:
    if not os.path.isfile(path):
        raise BadVideoError(str(path), "not a file" if os.path.exists(path) else "no such file")
    size = os.path.getsize(path)
    if size == 0:
        raise BadVideoError(str(path), "the file is empty")
    if size > limits.max_video_bytes:
        raise BadVideoError(str(path), f"{size} bytes pass the limit of {limits.max_video_bytes}")


@contextlib.contextmanager
def reasons(path: VideoFile, limits: DecodeLimits) -> Iterator[None]:
    """Turn the errors that a file causes in FFmpeg and PyAV into BadVideoErrors of one line."""
    import av

    try:
        yield
    except MemoryError:  # Python's, and FFmpeg's
        raise BadVideoError(str(path), "decoding takes more memory than it may") from None
    except av.error.ArgumentError as error:
        # FFmpeg raises it for larger frames too, where the size is not known until a frame is decoded.
        limit = f"frames pass the limit of {limits.max_frame_pixels} pixels"
        raise BadVideoError(str(path), f"cannot be decoded: {error.strerror}, or {limit}") from None
    except av.FFmpegError as error:
        raise BadVideoError(str(path), f"cannot be decoded: {error.strerror}") from None
    except (UnicodeError, ValueError, OverflowError) as error:
        reason = f"cannot be decoded: {type(error).__name__}: {error}".splitlines()[0][:200]
        raise BadVideoError(str(path), reason) from None


def open_container(path: VideoFile, limits: DecodeLimits) -> Any:
    """Open a video file and nothing else, whatever it says about itself.

    Args:
        path: the video file.
        limits: only the pixels of a frame count here.

    Returns:
        `av.container.InputContainer`; errors are PyAV's.
    """
    import av

    # A title that is not UTF-8 must not cost us the video. FFmpeg keeps to max_pixels whatever a stream declares later.
    # A playlist under a video's name must not make us fetch anything, nor a colon in a name stand for a protocol.
    return av.open(
        f"file:{os.fspath(path)}",
        metadata_errors="replace",
        options=_max_pixels(limits),
        container_options={"protocol_whitelist": "file"},
    )


def _max_pixels(limits: DecodeLimits) -> dict[str, str]:
    return {"max_pixels": str(limits.max_frame_pixels)}


def open_stream(path: VideoFile, limits: DecodeLimits) -> tuple[Any, Any]:
    """Open a video file and find its video.

    Args:
        path: the video file.
        limits: only the pixels of a frame count here.

    Returns:
        `av.container.InputContainer`, to be closed, and its first `av.VideoStream` that is not a cover.

    Raises:
        BadVideoError: it has none that can be decoded, or its frames pass the limit; other errors are PyAV's.
    """
    from av.stream import Disposition

    container = open_container(path, limits)
    # A sound file's cover is a stream too.
    streams = [video for video in container.streams.video if not video.disposition & Disposition.attached_pic]
    reason = None
    if not streams:
        reason = "no video stream"
    elif streams[0].codec_context is None:
        reason = "no decoder for its video stream"
    elif streams[0].width * streams[0].height > limits.max_frame_pixels:
        size = f"{streams[0].width} x {streams[0].height} px"
        reason = f"frames of {size} pass the limit of {limits.max_frame_pixels} pixels"
    if reason is not None:
        container.close()
        raise BadVideoError(str(path), reason)
    streams[0].thread_count = 1  # the parallel unit is the video
    streams[0].codec_context.options = _max_pixels(limits)
    return container, streams[0]


def rate_fps(stream: Any) -> float:
    """Return the frames per second of a stream without time stamps."""
    return float(stream.average_rate or stream.guessed_rate or 25)


@dataclass
class _Packets:
    """What the packets of a video say.

    Args:
        count: packets of the video stream.
        stamps: ticks at which its frames are shown, in the packets' order; None where a packet has none.
        key_stamps: those of the key frames.
        durations: ticks for which its frames are shown; 0 where a packet does not say.
        reached_s: end of the last packet of any stream, seconds.
    """

    count: int = 0
    stamps: list[Any] = field(default_factory=list)
    key_stamps: list[Any] = field(default_factory=list)
    durations: list[int] = field(default_factory=list)
    reached_s: float = 0.0

    def check_whole(self, path: VideoFile, declared_packets: int, declared_s: float) -> None:
        """Raise BadVideoError for a file that ends before its container says."""
        if self.count < (1 - SLACK_FRACTION) * declared_packets - 2:
            raise BadVideoError(str(path), f"truncated: {self.count} of the {declared_packets} frames it declares")
        if self.reached_s < declared_s - max(DURATION_SLACK_S, SLACK_FRACTION * declared_s):
            reached = f"{self.reached_s:.2f} s of the {declared_s:.2f} s"
            raise BadVideoError(str(path), f"truncated: {reached} it declares")

    def check_without_gaps(self, path: VideoFile, time_base: Fraction) -> None:
        """Raise BadVideoError if the frames of a Matroska file declare how long each lasts, and leave gaps.

        FFmpeg continues behind a damaged part of one as if nothing were missing, and the container counts no frames.
        """
        if None in self.stamps or 0 in self.durations:
            return  # it does not say how long a frame lasts, so gaps are allowed
        ticks = (max(self.stamps) - min(self.stamps), sum(self.durations))
        span_s, filled_s = (float(some * time_base) for some in ticks)
        if filled_s < span_s - max(DURATION_SLACK_S, 0.1 * span_s):
            filled = f"{filled_s:.2f} s of frames in the {span_s:.2f} s"
            raise BadVideoError(str(path), f"truncated: {filled} from first to last")


def _read_packets(path: VideoFile, container: Any, stream: Any, limits: DecodeLimits) -> _Packets:
    import av

    found = _Packets()
    start_s = (container.start_time or 0) / av.time_base
    # As numbers, once: a fraction for each packet costs as much as reading it.
    tick_s = {any_stream.index: float(any_stream.time_base or 0) for any_stream in container.streams}
    for packet in container.demux():
        if not packet.size:
            continue
        number = packet.stream_index
        stamp = packet.dts if packet.pts is None else packet.pts
        if stamp is not None:
            found.reached_s = max(found.reached_s, (stamp + (packet.duration or 0)) * tick_s[number] - start_s)
        if number != stream.index:
            continue
        found.count += 1
        if found.count > limits.max_video_frames:
            raise BadVideoError(str(path), f"more frames than the limit of {limits.max_video_frames}")
        if not packet.is_discard:  # an edit list may keep frames from being shown
            found.stamps.append(stamp)
            found.durations.append(packet.duration or 0)
            if packet.is_keyframe:
                found.key_stamps.append(stamp)
    if not found.stamps:
        raise BadVideoError(str(path), "no video frames")
    return found


def _index_of(packets: _Packets, container: Any, stream: Any) -> VideoIndex:
    key_times_s: list[float] = []
    if None in packets.stamps:
        times_s = [number / rate_fps(stream) for number in range(len(packets.stamps))]
    else:
        tick_s = float(stream.time_base or 0)
        times_s = sorted(stamp * tick_s for stamp in packets.stamps)
        if container.format.name.startswith(EXACT_CONTAINERS):
            key_times_s = sorted(stamp * tick_s for stamp in packets.key_stamps)
    frame_s = (times_s[-1] - times_s[0]) / (len(times_s) - 1) if len(times_s) > 1 else 0.0
    return VideoIndex(times_s, key_times_s, frame_s)
