"""Copies of videos with the predicted classes drawn on them."""

import contextlib
import logging
import math
import os
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from deepvideo_tf.config import DecodeLimits, check_int
from deepvideo_tf.data.video.decode import Frame, read_frames
from deepvideo_tf.data.video.index import open_container, read_index
from deepvideo_tf.errors import ConfigError, DeepVideoError
from deepvideo_tf.formats.predictors import Predictor
from deepvideo_tf.inference.prediction import HOP_S, Moment, predict_stream
from deepvideo_tf.storage.writes import staged_file

logger = logging.getLogger(__name__)

TICKS_PER_S = 90_000  # of the time stamps, as MPEG has them
MIN_SIDE_PX = 240  # of the copy: below, nothing can be read on it
LINES_PER_HEIGHT = 18
BAR_COLOR, TEXT_COLOR, PANEL_SHADE = (60, 120, 216), (255, 255, 255), 0.35


def annotate_video(
    predictor: Predictor,
    video: str | os.PathLike[str],
    path: str | os.PathLike[str],
    *,
    top: int = 5,
    hop_s: float = HOP_S,
    limits: DecodeLimits | None = None,
    on_moment: Callable[[Moment], object] | None = None,
) -> None:
    """Write a copy of a video with its running likeliest classes drawn on it.

    The copy is H.264 in an mp4 file, with square pixels, upright, at the times of the original, at least 240 px high
    and wide. The original's sound is kept if mp4 files can hold it, else it is left out with a warning. The font has
    Latin letters only.

    Args:
        predictor: from `load_predictor`.
        video: the video file.
        path: the file to write, ending in `.mp4`; an existing one is replaced when the new one is whole.
        top: classes drawn.
        hop_s: seconds from one clip that is classified to the next, above 0.
        limits: what the video may cost, except the time; None for the defaults.
        on_moment: called with every `Moment`.

    Raises:
        BadVideoError: the video cannot be decoded.
        ModelFileError: the model's outputs are not probabilities.
        ConfigError: an argument is outside its range, or `path` is the video itself.
        DeepVideoError: the copy cannot be written.
    """
    import av

    path, limits = Path(path), limits or DecodeLimits()
    if path.suffix != ".mp4":
        raise ConfigError(f"the annotated copy must end in .mp4. Received: {str(path)!r}")
    check_int("top", top, 1)
    if path.exists() and os.path.exists(video) and os.path.samefile(path, video):
        raise ConfigError(f"{path}: the annotated copy would replace the video itself")
    index = read_index(video, limits)
    moments = predict_stream(
        predictor, read_frames(video, limits=limits, index=index), name=str(video), hop_s=hop_s, limits=limits
    )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with staged_file(path, f".{path.name}.tmp") as local, contextlib.ExitStack() as stack:
            out = stack.enter_context(av.open(str(local), "w", format="mp4"))
            pictures = _Pictures(out, index.frame_s)
            sound = _Sound(video, out, index.times_s[0], limits, stack)
            for moment in moments:
                rows = list((moment.classes or {}).items())[:top]
                packets = pictures.encode(draw_classes(_upright(moment.frame), rows), moment.frame.time_s)
                sound.copy(until_s=moment.frame.time_s)
                out.mux(packets)
                if on_moment is not None:
                    on_moment(moment)
            out.mux(pictures.finish())
            sound.copy(until_s=math.inf)
            stack.close()  # the file is whole before it gets its name
    except (av.FFmpegError, OSError) as error:
        raise DeepVideoError(f"{path}: cannot be written: {error.strerror}") from None


class _Pictures:
    """The pictures of a copy."""

    def __init__(self, out: Any, frame_s: float):
        frame_rate_fps = Fraction(1 / frame_s if frame_s else 25).limit_denominator(1001)
        self._stream = out.add_stream("libx264", rate=frame_rate_fps, options={"crf": "20", "preset": "veryfast"})
        self._stream.codec_context.time_base = Fraction(1, TICKS_PER_S)
        self._last_tick = -1

    def encode(self, pixels: np.ndarray, time_s: float) -> Any:
        """Encode a picture, uint8 `[height, width, 3]`; return packets."""
        import av

        stream = self._stream
        if self._last_tick < 0:
            stream.height, stream.width = pixels.shape[:2]
            stream.pix_fmt = "yuv420p"
        picture = av.VideoFrame.from_ndarray(pixels, format="rgb24")
        self._last_tick = max(self._last_tick + 1, round(time_s * TICKS_PER_S))
        picture.pts, picture.time_base = self._last_tick, Fraction(1, TICKS_PER_S)
        return stream.encode(picture.reformat(stream.width, stream.height))

    def finish(self) -> Any:
        """Return the packets that are left."""
        return self._stream.encode()


class _Sound:
    """The sound of a video, copied packet by packet as the pictures are written beside it."""

    def __init__(
        self,
        video: str | os.PathLike[str],
        out: Any,
        start_s: float,
        limits: DecodeLimits,
        stack: contextlib.ExitStack,
    ):
        self._video, self._out, self._start_s = video, out, start_s
        self._packets: Iterator[Any] = iter(())
        self._waiting: Any = None
        source = stack.enter_context(open_container(video, limits))
        if not source.streams.audio:
            return
        heard = source.streams.audio[0]
        codec = heard.codec_context.codec.canonical_name if heard.codec_context else "an unknown codec"
        if codec not in out.supported_codecs:
            logger.warning("%s: its sound is left out of the copy: mp4 files cannot hold %s", video, codec)
            return
        self._stream = out.add_stream_from_template(heard)
        self._packets = (packet for packet in source.demux(heard) if packet.size and packet.dts is not None)

    def copy(self, until_s: float) -> None:
        """Write the packets that are heard before a time, seconds from the first frame."""
        import av

        try:
            while self._waiting or self._advance():
                packet = self._waiting
                if packet.dts * packet.time_base > until_s:
                    return
                self._waiting = None
                if packet.dts >= 0:
                    packet.stream = self._stream
                    self._out.mux(packet)
        except av.FFmpegError as error:
            logger.warning("%s: its sound ends early in the copy: %s", self._video, error.strerror)
            self._packets, self._waiting = iter(()), None

    def _advance(self) -> bool:
        """Let the next packet wait, its times counted from the first frame; return whether there is one."""
        self._waiting = next(self._packets, None)
        if self._waiting is None:
            return False
        shift = round(self._start_s / self._waiting.time_base)
        self._waiting.pts = (self._waiting.dts if self._waiting.pts is None else self._waiting.pts) - shift
        self._waiting.dts -= shift
        return True


def _upright(frame: Frame) -> np.ndarray:
    """Return a frame as it is shown, uint8 `[height, width, 3]`, with even sides of at least `MIN_SIDE_PX`."""
    width_px, height_px = frame.picture.width * frame.pixel_aspect, frame.picture.height
    scale = max(1.0, MIN_SIDE_PX / min(width_px, height_px))
    height, width = (2 * max(1, round(scale * side_px / 2)) for side_px in (height_px, width_px))
    pixels = frame.picture.reformat(width, height, format="rgb24").to_ndarray()
    return np.ascontiguousarray(np.rot90(pixels, frame.quarter_turns))


def draw_classes(pixels: np.ndarray, rows: Sequence[tuple[str, float]]) -> np.ndarray:
    """Draw classes and their probabilities as bars into the upper left corner.

    Args:
        pixels: uint8 `[height, width, 3]`, at least 60 px high and wide.
        rows: pairs of class name and probability; if there are none, nothing is drawn.

    Returns:
        A new array of the same kind.
    """
    from PIL import Image, ImageDraw, ImageFont

    if not rows:
        return pixels
    height_px, width_px = pixels.shape[:2]
    line_px = max(12, min(height_px, width_px) // LINES_PER_HEIGHT)
    gap_px = line_px // 4
    panel_px = min(width_px - 2 * gap_px, 14 * line_px)
    bottom_px = min(height_px, 2 * gap_px + line_px * len(rows))
    drawn = pixels.copy()
    panel = drawn[gap_px : gap_px + bottom_px, gap_px : gap_px + panel_px]
    panel[:] = (panel * PANEL_SHADE).astype(np.uint8)
    image = Image.fromarray(drawn)
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(line_px * 0.75)
    for number, (name, probability) in enumerate(rows):
        top_px = 2 * gap_px + number * line_px
        bar_px = round(probability * (panel_px - 2 * gap_px))
        if bar_px > 0:
            draw.rectangle((2 * gap_px, top_px + 1, 2 * gap_px + bar_px, top_px + line_px - 2), fill=BAR_COLOR)
        name = " ".join(name.split())  # in one line
        text = f"{probability:.2f} {name}"
        while len(name) > 1 and draw.textlength(text, font) > panel_px - 3 * gap_px:
            name = name[:-1]
            text = f"{probability:.2f} {name}\N{HORIZONTAL ELLIPSIS}"
        draw.text((3 * gap_px, top_px + line_px / 2), text, TEXT_COLOR, font, anchor="lm")
    return np.asarray(image)
