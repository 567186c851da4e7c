"""From a video file to the frames of its clips, with PyAV, in this process.

Untrusted files belong in `decode_process`, whose decoder can be killed.
"""

import heapq
import io
import os
from collections import deque
from dataclasses import dataclass

import numpy as np

from deepvideo_tf.config import ShardSpec
from deepvideo_tf.data.sampling import clip_starts_s, frame_times_s
from deepvideo_tf.errors import BadVideoError

MAX_FRAME_PIXELS = 8192 * 4320
MAX_ASPECT_RATIO = 16
# The codecs at hand hold back 16 frames at most to bring them into the order of their display.
MAX_REORDERED_FRAMES = 16
DURATION_SLACK_S = 0.5  # containers round their durations
STAMP_ROUNDING_S = 0.002  # and their time stamps, Matroska's to milliseconds: 0.0667 s must find the frame at 0.067


@dataclass(frozen=True)
class DecodedClip:
    """One stored clip.

    Args:
        start_s: time of its first frame, seconds from the first frame of the video.
        frames: `clip_frames` frames: JPEG files, or arrays, uint8 `[height, width, 3]`.
    """

    start_s: float
    frames: list


def decode_clips(path, spec: ShardSpec, *, encode=True):
    """Decodes the clips of one video: frames by timestamp, turned upright, centre square, resized (section 3.3).

    A clip that outlasts the video (one shorter than a clip) holds the last frame, as a player does.

    Args:
        path: the video file.
        spec: which clips, and how large and fast.
        encode: True for frames as JPEG files, False for arrays.

    Returns:
        List of `DecodedClip`, ascending in time, at least one.

    Raises:
        BadVideoError: the file is not a video, is damaged, ends before its container says, or passes a limit.
    """
    import av  # here, so that programs that decode in another process do not load FFmpeg

    if not os.path.isfile(path):
        raise BadVideoError(path, "not a file" if os.path.exists(path) else "no such file")
    if os.path.getsize(path) == 0:
        raise BadVideoError(path, "the file is empty")
    try:
        times_s = _display_times_s(av, path)
        frame_s = (times_s[-1] - times_s[0]) / (len(times_s) - 1) if len(times_s) > 1 else 0.0
        duration_s = times_s[-1] - times_s[0] + frame_s
        starts_s = clip_starts_s(
            duration_s,
            clips=spec.clips_per_video,
            clip_frames=spec.clip_frames,
            frame_rate_fps=spec.frame_rate_fps,
        )
        wanted_s = [
            frame_times_s(start, clip_frames=spec.clip_frames, frame_rate_fps=spec.frame_rate_fps) for start in starts_s
        ]
        frames = _frames_at(av, path, {time for clip in wanted_s for time in clip}, spec, encode, duration_s, frame_s)
    except av.FFmpegError as error:
        raise BadVideoError(path, f"cannot be decoded: {error.strerror}") from None
    except (UnicodeError, ValueError, OverflowError) as error:
        raise BadVideoError(path, f"cannot be decoded: {type(error).__name__}: {error}".splitlines()[0][:200]) from None
    return [
        DecodedClip(start_s, [frames[time] for time in times])
        for start_s, times in zip(starts_s, wanted_s, strict=True)
    ]


def _open(av, path):
    """The container and its first video stream."""
    # A title that is not UTF-8 must not cost us the video.
    container = av.open(path, metadata_errors="replace")
    if not container.streams.video:
        container.close()
        raise BadVideoError(path, "no video stream")
    stream = container.streams.video[0]
    stream.thread_count = 1  # the parallel unit is the video
    if stream.width * stream.height > MAX_FRAME_PIXELS:
        container.close()
        raise BadVideoError(path, f"frames of {stream.width} x {stream.height} px pass {MAX_FRAME_PIXELS} pixels")
    return container, stream


def _display_times_s(av, path):
    """Times of all frames that are shown, ascending, seconds; refuses a file that ends before its container says."""
    container, stream = _open(av, path)
    with container:
        stamps, packets, reached_s = [], 0, 0.0
        start_s = (container.start_time or 0) / av.time_base
        for packet in container.demux():
            stamp = packet.dts if packet.pts is None else packet.pts
            if not packet.size:
                continue
            if stamp is not None:
                reached_s = max(reached_s, float((stamp + (packet.duration or 0)) * packet.time_base) - start_s)
            if packet.stream.index == stream.index:
                packets += 1
                if not packet.is_discard:  # an edit list may keep frames from being shown
                    stamps.append(stamp)
        if not stamps:
            raise BadVideoError(path, "no video frames")
        _check_whole(path, packets, stream.frames, reached_s, (container.duration or 0) / av.time_base)
        if None in stamps:
            return [index / _rate_fps(stream) for index in range(len(stamps))]
        return sorted(float(stamp * stream.time_base) for stamp in stamps)


def _rate_fps(stream):
    """Frames a second of a stream without time stamps."""
    return float(stream.average_rate or stream.guessed_rate or 25)


def _check_whole(path, packets, declared_packets, reached_s, declared_s):
    if packets < 0.95 * declared_packets - 2:
        raise BadVideoError(path, f"truncated: {packets} of the {declared_packets} frames it declares")
    if reached_s < declared_s - max(DURATION_SLACK_S, 0.1 * declared_s):
        raise BadVideoError(path, f"truncated: {reached_s:.2f} s of the {declared_s:.2f} s it declares")


def _frames_in_order(container, stream):
    """Yields (time in seconds, frame) in the order in which the decoder gives the frames.

    Some files (MPEG-4 with packed B-frames in AVI) carry time stamps that are right as a set and wrong one by one. The
    decoder's order is the order of display, so the stamps are sorted and handed out in that order.
    """
    waiting, times_s, rate_fps = deque(), [], _rate_fps(stream)
    for index, frame in enumerate(container.decode(stream)):
        waiting.append(frame)
        heapq.heappush(times_s, index / rate_fps if frame.time is None else frame.time)
        if len(waiting) > MAX_REORDERED_FRAMES:
            yield heapq.heappop(times_s), waiting.popleft()
    while waiting:
        yield heapq.heappop(times_s), waiting.popleft()


def _frames_at(av, path, wanted_s, spec, encode, duration_s, frame_s):
    """The frame on display at each of the wanted times, as a dict; each kept frame is converted once."""
    container, stream = _open(av, path)
    resize = _Resizer(av, path, spec.frame_size_px, float(stream.sample_aspect_ratio or 1))
    pending, found = deque(sorted(wanted_s)), {}
    tolerance_s = min(STAMP_ROUNDING_S, frame_s / 4)
    with container:
        first_s = shown = last_s = None
        for stamp_s, frame in _frames_in_order(container, stream):
            first_s = stamp_s if first_s is None else first_s
            last_s = stamp_s - first_s
            _assign(pending, found, shown, before_s=last_s - tolerance_s, resize=resize, spec=spec, encode=encode)
            shown = frame
            if not pending:
                break
        if shown is None:
            raise BadVideoError(path, "no frame decodes")
        if pending and last_s + frame_s < duration_s - DURATION_SLACK_S:
            raise BadVideoError(path, f"truncated: {last_s + frame_s:.2f} s of {duration_s:.2f} s decode")
        _assign(pending, found, shown, before_s=float("inf"), resize=resize, spec=spec, encode=encode)
    return found


def _assign(pending, found, shown, *, before_s, resize, spec, encode):
    """Gives the frame `shown` to every pending time before `before_s`."""
    if shown is None or not pending or pending[0] >= before_s:
        return
    pixels = resize(shown)
    stored = encode_jpeg(pixels, spec.jpeg_quality) if encode else pixels
    while pending and pending[0] < before_s:
        found[pending.popleft()] = stored


class _Resizer:
    """Turns decoded frames upright, cuts the centre square and resizes it; keeps FFmpeg's scaler between frames."""

    def __init__(self, av, path, size_px, pixel_aspect):
        self.path = path
        self.size_px = size_px
        self.pixel_aspect = pixel_aspect
        self.reformatter = av.video.reformatter.VideoReformatter()

    def __call__(self, frame):
        """uint8 `[size_px, size_px, 3]` from a decoded frame."""
        width_px, height_px = frame.width * self.pixel_aspect, frame.height
        short_px, long_px = sorted((width_px, height_px))
        if long_px > MAX_ASPECT_RATIO * short_px or frame.width * frame.height > MAX_FRAME_PIXELS:
            raise BadVideoError(self.path, f"frames of {frame.width} x {frame.height} px pass the limits")
        scale = self.size_px / short_px
        resized = self.reformatter.reformat(
            frame,
            width=max(self.size_px, round(width_px * scale)),
            height=max(self.size_px, round(height_px * scale)),
            format="rgb24",
            interpolation="AREA",
            threads=1,
        ).to_ndarray()
        top, left = ((extent - self.size_px) // 2 for extent in resized.shape[:2])
        square = resized[top : top + self.size_px, left : left + self.size_px]
        # FFmpeg's rotation is counter-clockwise, as NumPy's is.
        return np.ascontiguousarray(np.rot90(square, round(frame.rotation / 90)))


def encode_jpeg(pixels, quality):
    """A JPEG file from uint8 `[height, width, 3]`."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality)
    return file.getvalue()
