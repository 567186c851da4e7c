"""From a video file to the frames of its clips, with PyAV, in this process.

Untrusted files belong in `process`, whose decoder can be killed.

A file is read twice: first its packets (`index`); then the frames that are wanted, from the last key frame before each
clip where the container's seeking can be trusted.
"""

import bisect
import heapq
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from deepvideo_tf.config import DecodeLimits, ShardSpec
from deepvideo_tf.data.sampling import clip_starts_s, frame_times_s
from deepvideo_tf.data.video.convert import FrameConverter
from deepvideo_tf.data.video.index import (
    SLACK_FRACTION,
    STAMP_ROUNDING_S,
    VideoFile,
    VideoIndex,
    open_stream,
    rate_fps,
    read_index,
    reasons,
)
from deepvideo_tf.errors import BadVideoError

# The codecs at hand hold back 16 frames at most to bring them into the order of their display.
MAX_REORDERED_FRAMES = 16


@dataclass(frozen=True)
class DecodedClip:
    """One stored clip.

    Args:
        start_s: time of its first frame, seconds from the first frame of the video.
        frames: `clip_frames` frames: JPEG files or raw pixels as bytes, or arrays, uint8 `[height, width, 3]`.
    """

    start_s: float
    frames: list[Any]


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
    def quarter_turns(self) -> int:
        """Quarter turns that bring it upright, counter-clockwise, as in NumPy's `rot90`."""
        return round(self.picture.rotation / 90)


def decode_clips(
    path: VideoFile,
    spec: ShardSpec,
    *,
    limits: DecodeLimits | None = None,
    start_s: float = 0.0,
    end_s: float | None = None,
    encode: bool = True,
    index: VideoIndex | None = None,
) -> list[DecodedClip]:
    """Decode the clips of one video: frames by timestamp, turned upright, center square, resized (section 3.3).

    A clip longer than the video holds the last frame, as a player does.

    Args:
        path: the video file.
        spec: which clips, and how large and fast.
        limits: what the video may cost; None for the defaults. Only `DecoderProcess` keeps the time limit.
        start_s: where in the video the clips begin, seconds from its first frame.
        end_s: where they end; None for the end of the video.
        encode: True for frames as bytes in the spec's format, False for arrays.
        index: what `read_index` gave for the file; None to read it.

    Returns:
        List of `DecodedClip`, ascending in time, at least one.

    Raises:
        BadVideoError: the file is not a video, is damaged, ends before its container says, or passes a limit.
    """
    limits = limits or DecodeLimits()
    index = index or read_index(path, limits)
    with reasons(path, limits):
        starts_s, wanted_s = _wanted_times(path, spec, index, start_s, end_s)
        frames = _frames_at(path, sorted({time for clip in wanted_s for time in clip}), index, spec, limits, encode)
    return [
        DecodedClip(start, [frames[time] for time in times]) for start, times in zip(starts_s, wanted_s, strict=True)
    ]


def read_frames(
    path: VideoFile, *, limits: DecodeLimits | None = None, index: VideoIndex | None = None
) -> Iterator[Frame]:
    """Yield all frames of a video one after the other, as a player shows them.

    Args:
        path: the video file.
        limits: what the video may cost, except the time; None for the defaults.
        index: what `read_index` gave for the file; None to read it.

    Yields:
        `Frame`s, ascending in time.

    Raises:
        BadVideoError: the file is not a video, is damaged, ends before its container says, or passes a limit. What
            only decoding shows is raised after the frames before it.
    """
    limits = limits or DecodeLimits()
    index = replace(index or read_index(path, limits), key_times_s=[])  # sorts stamps that do not ascend
    with reasons(path, limits):
        container, stream = open_stream(path, limits)
        with container:
            pixel_aspect = float(stream.sample_aspect_ratio or 1)
            decoded, last_s = 0, 0.0
            for stamp_s, picture in frames_in_order(container, stream, index):
                decoded += 1
                last_s = max(last_s, stamp_s - index.times_s[0])
                yield Frame(last_s, picture, pixel_aspect)
    if not decoded:
        raise BadVideoError(str(path), "no frame decodes")
    if not limits.use_truncated and decoded < (1 - SLACK_FRACTION) * len(index.times_s) - 2:
        raise BadVideoError(str(path), f"truncated: {decoded} of {len(index.times_s)} frames decode")


def _wanted_times(
    path: VideoFile, spec: ShardSpec, index: VideoIndex, start_s: float, end_s: float | None
) -> tuple[list[float], list[list[float]]]:
    """Return the clips' starts, and for each the times of its frames; both in seconds from the first frame."""
    end_s = index.duration_s if end_s is None else min(end_s, index.duration_s)
    if start_s > 0 and start_s >= end_s:
        raise BadVideoError(str(path), f"it ends at {end_s:.2f} s: nothing is left from {start_s:g} s on")
    frames, rate = spec.clip_frames, spec.frame_rate_fps
    starts_s = clip_starts_s(end_s - start_s, clips=spec.clips_per_video, clip_frames=frames, frame_rate_fps=rate)
    starts_s = [start_s + start for start in starts_s]
    last_s = max(start_s, end_s - index.frame_s)
    times_s = [frame_times_s(start, clip_frames=frames, frame_rate_fps=rate) for start in starts_s]
    return starts_s, [[min(time, last_s) for time in times] for times in times_s]


def _segments(wanted_s: list[float], index: VideoIndex) -> list[tuple[float | None, list[float]]]:
    """Split the wanted times where a key frame lies between two of them: decoding can skip the gap.

    Returns:
        List of (key frame's time or None for the beginning, wanted times), times in seconds from the first frame.
    """
    segments: list[tuple[float | None, list[float]]] = []
    for time_s in wanted_s:
        number = bisect.bisect_right(index.key_times_s, index.times_s[0] + time_s + 1e-9)
        key_s = index.key_times_s[number - 1] - index.times_s[0] if number else None
        is_first = not segments
        if is_first or (key_s is not None and key_s > segments[-1][1][-1]):
            segments.append((key_s if not is_first or (key_s or 0) > 0 else None, []))
        segments[-1][1].append(time_s)
    return segments


def _frames_at(
    path: VideoFile, wanted_s: list[float], index: VideoIndex, spec: ShardSpec, limits: DecodeLimits, encode: bool
) -> dict[float, Any]:
    """Return the frame on display at each of the wanted times; each kept frame is converted once."""
    found: dict[float, Any] = {}
    container, stream = open_stream(path, limits)
    convert = FrameConverter(path, spec, limits, float(stream.sample_aspect_ratio or 1), encode)
    with container:
        for key_s, times_s in _segments(wanted_s, index):
            if key_s is not None:
                container.seek(round((key_s + index.times_s[0]) / stream.time_base), stream=stream)
            try:
                found |= _decode_segment(container, stream, index, key_s or 0.0, deque(times_s), convert, limits)
            except _SeekMissedError:
                return _frames_at(path, wanted_s, replace(index, key_times_s=[]), spec, limits, encode)
    return found


class _SeekMissedError(Exception):
    """Seeking led past the key frame that the container declares."""


def _decode_segment(
    container: Any,
    stream: Any,
    index: VideoIndex,
    from_s: float,
    pending: deque[float],
    convert: FrameConverter,
    limits: DecodeLimits,
) -> dict[float, Any]:
    """Decode from the container's position until all pending times have their frames."""
    found: dict[float, Any] = {}
    tolerance_s = min(STAMP_ROUNDING_S, index.frame_s / 4)
    shown, time_s, decoded = None, from_s, 0
    for stamp_s, frame in frames_in_order(container, stream, index):
        if stamp_s - index.times_s[0] < from_s - tolerance_s:
            continue  # pictures before the key frame lack what they refer to
        time_s = stamp_s - index.times_s[0]
        if shown is None and from_s > 0 and time_s > from_s + tolerance_s:
            raise _SeekMissedError
        _assign(pending, found, shown, before_s=time_s - tolerance_s, convert=convert)
        shown = frame
        decoded += 1
        if not pending:
            break
    if shown is None:
        raise BadVideoError(convert.path, "no frame decodes")
    if not limits.use_truncated:
        first, last = (bisect.bisect_right(index.times_s, index.times_s[0] + x + 1e-6) for x in (from_s, time_s))
        expected = len(index.times_s) - first + 1 if pending else last - first + 1
        if decoded < (1 - SLACK_FRACTION) * expected - 2:
            reason = f"truncated: {decoded} of {expected} frames decode from {from_s:.2f} s on"
            raise BadVideoError(convert.path, reason)
    _assign(pending, found, shown, before_s=float("inf"), convert=convert)
    return found


def frames_in_order(container: Any, stream: Any, index: VideoIndex) -> Iterator[tuple[float, Any]]:
    """Yield (time in seconds, frame) in the order in which the decoder gives the frames.

    Some files (MPEG-4 with packed B-frames in AVI) have time stamps that are right as a set and wrong one by one. The
    decoder's order is the order of display, so the stamps are sorted and handed out in that order.

    Args:
        container: `av.container.InputContainer`; decoding starts at its position.
        stream: the `av.VideoStream`.
        index: of the file; stamps are sorted where it has no key frames.

    Yields:
        Pairs of seconds and `av.VideoFrame`.
    """
    reorders = not index.key_times_s and stream.codec_context.codec.reorder
    held_back = MAX_REORDERED_FRAMES if reorders else 0
    waiting: deque[Any] = deque()
    times_s: list[float] = []
    default_fps = rate_fps(stream)
    for number, frame in enumerate(container.decode(stream)):
        waiting.append(frame)
        heapq.heappush(times_s, number / default_fps if frame.time is None else frame.time)
        if len(waiting) > held_back:
            yield heapq.heappop(times_s), waiting.popleft()
    while waiting:
        yield heapq.heappop(times_s), waiting.popleft()


def _assign(
    pending: deque[float], found: dict[float, Any], shown: Any, *, before_s: float, convert: FrameConverter
) -> None:
    """Give the frame `shown` to every pending time before `before_s`."""
    if shown is None or not pending or pending[0] >= before_s:
        return
    stored = convert(shown)
    while pending and pending[0] < before_s:
        found[pending.popleft()] = stored
