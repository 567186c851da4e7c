"""From a video file to the frames of its clips, with PyAV, in this process.

Untrusted files belong in `decode_process`, whose decoder can be killed.

A file is read twice: first its packets, undecoded, for the times of its frames and for what its container declares;
then the frames that are wanted, from the last key frame before each clip where the container's seeking can be trusted.
"""

import bisect
import contextlib
import heapq
import os
from collections import deque
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from deepvideo_tf.config import DecodeLimits, ShardSpec
from deepvideo_tf.data.sampling import clip_starts_s, frame_times_s
from deepvideo_tf.errors import BadVideoError

MAX_ASPECT_RATIO = 16
# The codecs at hand hold back 16 frames at most to bring them into the order of their display.
MAX_REORDERED_FRAMES = 16
# Containers that store when each frame is shown, and where the key frames are. The stamps of the others are sorted, and
# they are decoded from the beginning.
EXACT_CONTAINERS = ("mov,mp4", "matroska,webm")
# What may be missing of a whole file: containers round their durations, and count frames that hold nothing.
DURATION_SLACK_S, SLACK_FRACTION = 0.5, 0.02
STAMP_ROUNDING_S = 0.002  # and their time stamps, Matroska's to milliseconds: 0.0667 s must find the frame at 0.067


@dataclass(frozen=True)
class DecodedClip:
    """One stored clip.

    Args:
        start_s: time of its first frame, seconds from the first frame of the video.
        frames: `clip_frames` frames: JPEG files or raw pixels as bytes, or arrays, uint8 `[height, width, 3]`.
    """

    start_s: float
    frames: list


@dataclass(frozen=True)
class Frame:
    """One decoded picture.

    Args:
        time_s: when it is shown, seconds from the first one.
        picture: `av.VideoFrame`.
        pixel_aspect: width of a pixel divided by its height.
    """

    time_s: float
    picture: Any
    pixel_aspect: float = 1.0

    @property
    def quarter_turns(self):
        """Counter-clockwise, as NumPy's `rot90` counts them, that bring it upright."""
        return round(self.picture.rotation / 90)


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
    def duration_s(self):
        """From the first frame to the end of the last one."""
        return self.times_s[-1] - self.times_s[0] + self.frame_s


def read_index(path, limits: DecodeLimits | None = None):
    """Reads when the frames of a video are shown, undecoded.

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
    with _reasons(av, path, limits):
        return _read_index(av, path, limits)


def decode_clips(
    path,
    spec: ShardSpec,
    *,
    limits: DecodeLimits | None = None,
    start_s=0.0,
    end_s=None,
    encode=True,
    index: VideoIndex | None = None,
):
    """Decodes the clips of one video: frames by timestamp, turned upright, centre square, resized (section 3.3).

    A clip that outlasts the video (one shorter than a clip) holds the last frame, as a player does.

    Args:
        path: the video file.
        spec: which clips, and how large and fast.
        limits: what the video may cost; None for the defaults. The time limit is `DecoderProcess`'s to keep.
        start_s: where in the video the clips begin, seconds from its first frame.
        end_s: where they end; None for the end of the video.
        encode: True for frames as bytes in the spec's format, False for arrays.
        index: what `read_index` gave for the file; None to read it.

    Returns:
        List of `DecodedClip`, ascending in time, at least one.

    Raises:
        BadVideoError: the file is not a video, is damaged, ends before its container says, or passes a limit.
    """
    import av

    limits = limits or DecodeLimits()
    index = index or read_index(path, limits)
    with _reasons(av, path, limits):
        starts_s, wanted_s = _wanted_times(path, spec, index, start_s, end_s)
        frames = _frames_at(path, sorted({time for clip in wanted_s for time in clip}), index, spec, limits, encode)
    return [
        DecodedClip(start, [frames[time] for time in times]) for start, times in zip(starts_s, wanted_s, strict=True)
    ]


def read_frames(path, *, limits: DecodeLimits | None = None, index: VideoIndex | None = None):
    """Yields all frames of a video one after the other, as a player shows them.

    Args:
        path: the video file.
        limits: what the video may cost, but for the time; None for the defaults.
        index: what `read_index` gave for the file; None to read it.

    Yields:
        `Frame`s, ascending in time.

    Raises:
        BadVideoError: the file is not a video, is damaged, ends before its container says, or passes a limit. What
            shows itself only while decoding is told after the frames before it.
    """
    import av

    limits = limits or DecodeLimits()
    index = replace(index or read_index(path, limits), key_times_s=[])  # sorts stamps that do not ascend
    with _reasons(av, path, limits):
        container, stream = _open(path, limits)
        with container:
            pixel_aspect = float(stream.sample_aspect_ratio or 1)
            decoded, last_s = 0, 0.0
            for stamp_s, picture in _frames_in_order(container, stream, index):
                decoded += 1
                last_s = max(last_s, stamp_s - index.times_s[0])
                yield Frame(last_s, picture, pixel_aspect)
    if not decoded:
        raise BadVideoError(path, "no frame decodes")
    if not limits.use_truncated and decoded < (1 - SLACK_FRACTION) * len(index.times_s) - 2:
        raise BadVideoError(path, f"truncated: {decoded} of {len(index.times_s)} frames decode")


def _check_file(path, limits):
    if not os.path.isfile(path):
        raise BadVideoError(path, "not a file" if os.path.exists(path) else "no such file")
    size = os.path.getsize(path)
    if size == 0:
        raise BadVideoError(path, "the file is empty")
    if size > limits.max_video_bytes:
        raise BadVideoError(path, f"{size} bytes pass the limit of {limits.max_video_bytes}")


@contextlib.contextmanager
def _reasons(av, path, limits):
    """Turns the errors that a file causes in FFmpeg and PyAV into BadVideoErrors of one line."""
    try:
        yield
    except MemoryError:  # Python's, and FFmpeg's
        raise BadVideoError(path, "decoding takes more memory than it may") from None
    except av.error.ArgumentError as error:
        # FFmpeg's answer to larger frames too, where the size is not known until a frame is decoded.
        raise BadVideoError(
            path, f"cannot be decoded: {error.strerror}, or frames pass the limit of {limits.max_frame_pixels} pixels"
        ) from None
    except av.FFmpegError as error:
        raise BadVideoError(path, f"cannot be decoded: {error.strerror}") from None
    except (UnicodeError, ValueError, OverflowError) as error:
        raise BadVideoError(path, f"cannot be decoded: {type(error).__name__}: {error}".splitlines()[0][:200]) from None


def _wanted_times(path, spec, index, start_s, end_s):
    """The clips' starts, and for each the times of its frames; both in seconds from the first frame."""
    end_s = index.duration_s if end_s is None else min(end_s, index.duration_s)
    if start_s > 0 and start_s >= end_s:
        raise BadVideoError(path, f"it ends at {end_s:.2f} s: nothing is left from {start_s:g} s on")
    clip = {"clip_frames": spec.clip_frames, "frame_rate_fps": spec.frame_rate_fps}
    starts_s = [start_s + start for start in clip_starts_s(end_s - start_s, clips=spec.clips_per_video, **clip)]
    last_s = max(start_s, end_s - index.frame_s)
    return starts_s, [[min(time, last_s) for time in frame_times_s(start, **clip)] for start in starts_s]


def open_container(path, limits: DecodeLimits):
    """Opens a video file and nothing else, whatever it says of itself.

    Args:
        path: the video file.
        limits: of which the pixels of a frame count here.

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


def _max_pixels(limits):
    return {"max_pixels": str(limits.max_frame_pixels)}


def _open(path, limits):
    """The container and its first video stream."""
    from av.stream import Disposition

    container = open_container(path, limits)
    # A sound file's cover is a stream too.
    streams = [video for video in container.streams.video if not video.disposition & Disposition.attached_pic]
    if not streams:
        container.close()
        raise BadVideoError(path, "no video stream")
    stream = streams[0]
    if stream.codec_context is None:
        container.close()
        raise BadVideoError(path, "no decoder for its video stream")
    stream.thread_count = 1  # the parallel unit is the video
    stream.codec_context.options = _max_pixels(limits)
    if stream.width * stream.height > limits.max_frame_pixels:
        container.close()
        raise BadVideoError(
            path, f"frames of {stream.width} x {stream.height} px pass the limit of {limits.max_frame_pixels} pixels"
        )
    return container, stream


def _read_index(av, path, limits):
    """When the frames are shown; refuses a file that ends before its container says."""
    container, stream = _open(path, limits)
    with container:
        if stream.frames > limits.max_video_frames:
            raise BadVideoError(path, f"{stream.frames} frames declared, the limit is {limits.max_video_frames}")
        stamps, key_stamps, durations, packets, reached_s = [], [], [], 0, 0.0
        start_s = (container.start_time or 0) / av.time_base
        # As numbers, once: a fraction for each packet costs as much as reading it.
        tick_s = {any_stream.index: float(any_stream.time_base or 0) for any_stream in container.streams}
        for packet in container.demux():
            if not packet.size:
                continue
            number = packet.stream_index
            stamp = packet.dts if packet.pts is None else packet.pts
            if stamp is not None:
                reached_s = max(reached_s, (stamp + (packet.duration or 0)) * tick_s[number] - start_s)
            if number != stream.index:
                continue
            packets += 1
            if packets > limits.max_video_frames:
                raise BadVideoError(path, f"more frames than the limit of {limits.max_video_frames}")
            if not packet.is_discard:  # an edit list may keep frames from being shown
                stamps.append(stamp)
                durations.append(packet.duration or 0)
                if packet.is_keyframe:
                    key_stamps.append(stamp)
        if not stamps:
            raise BadVideoError(path, "no video frames")
        if not limits.use_truncated:
            _check_whole(path, packets, stream.frames, reached_s, (container.duration or 0) / av.time_base)
            if container.format.name.startswith("matroska"):
                _check_without_gaps(path, stamps, durations, stream.time_base)
        if None in stamps:
            times_s, key_times_s = [number / _rate_fps(stream) for number in range(len(stamps))], []
        else:
            times_s, key_times_s = (
                sorted(stamp * tick_s[stream.index] for stamp in some) for some in (stamps, key_stamps)
            )
        if not container.format.name.startswith(EXACT_CONTAINERS):
            key_times_s = []
    frame_s = (times_s[-1] - times_s[0]) / (len(times_s) - 1) if len(times_s) > 1 else 0.0
    return VideoIndex(times_s, key_times_s, frame_s)


def _rate_fps(stream):
    """Frames a second of a stream without time stamps."""
    return float(stream.average_rate or stream.guessed_rate or 25)


def _check_whole(path, packets, declared_packets, reached_s, declared_s):
    if packets < (1 - SLACK_FRACTION) * declared_packets - 2:
        raise BadVideoError(path, f"truncated: {packets} of the {declared_packets} frames it declares")
    if reached_s < declared_s - max(DURATION_SLACK_S, SLACK_FRACTION * declared_s):
        raise BadVideoError(path, f"truncated: {reached_s:.2f} s of the {declared_s:.2f} s it declares")


def _check_without_gaps(path, stamps, durations, time_base):
    """Refuses a Matroska file that declares how long every frame lasts, and whose frames leave gaps.

    FFmpeg goes on behind a damaged part of one as if nothing were missing, and the container counts no frames.
    """
    if None in stamps or 0 in durations:
        return  # it does not say how long a frame lasts, so that gaps are its right
    span_s, filled_s = (float(ticks * time_base) for ticks in (max(stamps) - min(stamps), sum(durations)))
    if filled_s < span_s - max(DURATION_SLACK_S, 0.1 * span_s):
        raise BadVideoError(path, f"truncated: {filled_s:.2f} s of frames in the {span_s:.2f} s from first to last")


def _segments(wanted_s, index):
    """Parts the wanted times where a key frame lies between two of them: decoding need not go through the gap.

    Returns:
        List of (key frame's time or None for the beginning, wanted times), times in seconds from the first frame.
    """
    segments = []
    for time_s in wanted_s:
        number = bisect.bisect_right(index.key_times_s, index.times_s[0] + time_s + 1e-9)
        key_s = index.key_times_s[number - 1] - index.times_s[0] if number else None
        is_first = not segments
        if is_first or (key_s is not None and key_s > segments[-1][1][-1]):
            segments.append((key_s if not is_first or (key_s or 0) > 0 else None, []))
        segments[-1][1].append(time_s)
    return segments


def _frames_at(path, wanted_s, index, spec, limits, encode):
    """The frame on display at each of the wanted times, as a dict; each kept frame is converted once."""
    found = {}
    container, stream = _open(path, limits)
    convert = FrameConverter(path, spec, limits, float(stream.sample_aspect_ratio or 1), encode)
    with container:
        for key_s, times_s in _segments(wanted_s, index):
            if key_s is not None:
                container.seek(round((key_s + index.times_s[0]) / stream.time_base), stream=stream)
            try:
                _decode_segment(path, container, stream, index, key_s or 0.0, deque(times_s), found, convert, limits)
            except _SeekMissedError:
                return _frames_at(path, wanted_s, replace(index, key_times_s=[]), spec, limits, encode)
    return found


class _SeekMissedError(Exception):
    """Seeking led past the key frame that the container told of."""


def _decode_segment(path, container, stream, index, from_s, pending, found, convert, limits):
    """Decodes from where the container stands until all pending times have their frames."""
    tolerance_s = min(STAMP_ROUNDING_S, index.frame_s / 4)
    shown, time_s, decoded = None, from_s, 0
    for stamp_s, frame in _frames_in_order(container, stream, index):
        if stamp_s - index.times_s[0] < from_s - tolerance_s:
            continue  # of the pictures before the key frame, which lack what they refer to
        time_s = stamp_s - index.times_s[0]
        if shown is None and from_s > 0 and time_s > from_s + tolerance_s:
            raise _SeekMissedError
        _assign(pending, found, shown, before_s=time_s - tolerance_s, convert=convert)
        shown = frame
        decoded += 1
        if not pending:
            break
    if shown is None:
        raise BadVideoError(path, "no frame decodes")
    if not limits.use_truncated:
        first, last = (bisect.bisect_right(index.times_s, index.times_s[0] + x + 1e-6) for x in (from_s, time_s))
        expected = len(index.times_s) - first + 1 if pending else last - first + 1
        if decoded < (1 - SLACK_FRACTION) * expected - 2:
            raise BadVideoError(path, f"truncated: {decoded} of {expected} frames decode from {from_s:.2f} s on")
    _assign(pending, found, shown, before_s=float("inf"), convert=convert)


def _frames_in_order(container, stream, index):
    """Yields (time in seconds, frame) in the order in which the decoder gives the frames.

    Some files (MPEG-4 with packed B-frames in AVI) carry time stamps that are right as a set and wrong one by one. The
    decoder's order is the order of display, so the stamps are sorted and handed out in that order.
    """
    reorders = not index.key_times_s and stream.codec_context.codec.reorder
    held_back = MAX_REORDERED_FRAMES if reorders else 0
    waiting, times_s, rate_fps = deque(), [], _rate_fps(stream)
    for number, frame in enumerate(container.decode(stream)):
        waiting.append(frame)
        heapq.heappush(times_s, number / rate_fps if frame.time is None else frame.time)
        if len(waiting) > held_back:
            yield heapq.heappop(times_s), waiting.popleft()
    while waiting:
        yield heapq.heappop(times_s), waiting.popleft()


def _assign(pending, found, shown, *, before_s, convert):
    """Gives the frame `shown` to every pending time before `before_s`."""
    if shown is None or not pending or pending[0] >= before_s:
        return
    stored = convert(shown)
    while pending and pending[0] < before_s:
        found[pending.popleft()] = stored


class FrameConverter:
    """Cuts the centre square of decoded frames, resizes it and turns it upright; keeps FFmpeg's scaler between frames.

    A JPEG file stores brightness and two half-sized planes of colour, as nearly all videos do. So frames that become
    JPEG files are scaled as they are, and never turned into red, green and blue.

    Args:
        path: the video, for messages.
        spec: the `ShardSpec`: size, format and quality of what comes out.
        limits: the `DecodeLimits`, of which the frame's pixels count here.
        pixel_aspect: width of a pixel divided by its height.
        encode: True for frames as bytes in the spec's format, False for arrays.
    """

    def __init__(self, path, spec, limits, pixel_aspect=1.0, encode=False):
        import av

        self.path = path
        self.size_px = spec.frame_size_px
        self.quality = spec.jpeg_quality
        self.kind = spec.frame_format if encode else "array"
        self.max_pixels = limits.max_frame_pixels
        self.pixel_aspect = pixel_aspect
        self.reformatter = av.video.reformatter.VideoReformatter()

    def __call__(self, frame):
        """A JPEG file or raw pixels as bytes, or an array, uint8 `[size_px, size_px, 3]`, from a decoded frame."""
        width_px, height_px = frame.width * self.pixel_aspect, frame.height
        short_px, long_px = sorted((width_px, height_px))
        if long_px > MAX_ASPECT_RATIO * short_px or frame.width * frame.height > self.max_pixels:
            raise BadVideoError(self.path, f"frames of {frame.width} x {frame.height} px pass the limits")
        # A frame is wider (or higher) than the square by a multiple of 4 pixels, so that the centre is cut at a whole
        # pixel of the half-sized planes too. It costs at most 2 pixels of its proportions.
        height, width = (
            self.size_px + 4 * round(self.size_px * (extent_px / short_px - 1) / 4)
            for extent_px in (height_px, width_px)
        )
        size = {"width": width, "height": height}
        options = {"interpolation": "AREA", "threads": 1}
        turns = round(frame.rotation / 90)  # counter-clockwise, as NumPy's are
        if self.kind != "jpeg":
            resized = self.reformatter.reformat(frame, format="rgb24", **size, **options)
            square = self._square(resized.to_ndarray(), 1, turns)
            return square if self.kind == "array" else square.tobytes()
        from simplejpeg import encode_jpeg_yuv_planes

        resized = self.reformatter.reformat(
            frame, format="yuvj420p", dst_colorspace="ITU601", dst_color_range="JPEG", **size, **options
        )
        planes = (
            np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)[:, : plane.width]
            for plane in resized.planes
        )
        squares = (self._square(plane, shrunk, turns) for plane, shrunk in zip(planes, (1, 2, 2), strict=True))
        return encode_jpeg_yuv_planes(*squares, quality=self.quality)

    def _square(self, plane, shrunk, turns):
        """The centre square of a plane, `shrunk` times smaller than the frame, turned upright."""
        size_px = -(-self.size_px // shrunk)
        top, left = ((extent - size_px) // 2 for extent in plane.shape[:2])
        return np.ascontiguousarray(np.rot90(plane[top : top + size_px, left : left + size_px], turns))
