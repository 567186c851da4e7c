"""Clips that frames make as they come, one by one."""

import math
from collections import deque
from typing import Any

import numpy as np

from deepvideo_tf.config import ClipSpec, DecodeLimits, ShardSpec, check_number
from deepvideo_tf.data.video.convert import FrameConverter
from deepvideo_tf.data.video.decode import Frame
from deepvideo_tf.data.video.index import STAMP_ROUNDING_S

MAX_PAUSE_S = 10.0  # a frame that is shown for longer is not looked at any more: a stamp may be years off


class ClipWindow:
    """Make clips of frames that come one by one, as the shards' clips are made: by time, at their rate and size.

    Args:
        name: the video, for messages.
        shards: rate and size of the stored frames.
        clip: what the model sees of them.
        hop_s: seconds from the start of one clip to the next; rounded to whole frames, one at least.
        limits: only the pixels of a frame count here; None for the defaults.

    Raises:
        ConfigError: `hop_s` is not a number above 0.
    """

    def __init__(
        self, name: str, shards: ShardSpec, clip: ClipSpec, *, hop_s: float, limits: DecodeLimits | None = None
    ):
        check_number("hop_s", hop_s, above=0)
        self._name, self._shards, self._clip = name, shards, clip
        self._limits = limits or DecodeLimits()
        self._hop = max(1, round(hop_s * shards.frame_rate_fps))
        self._kept: deque[np.ndarray] = deque(maxlen=clip.span)
        self._taken = 0  # moments 1 / frame_rate_fps apart that have their frame
        self._made = 0
        self._shown: Any = None
        self._convert: FrameConverter | None = None
        self._converted: Any = None  # the picture taken last, and what the model sees of it
        self._pixels = np.empty(0)

    def push(self, frame: Frame) -> list[np.ndarray]:
        """Take the next frame.

        Args:
            frame: later than the one before.

        Returns:
            The clips that are complete now, uint8 `[time, height, width, 3]`: none or one, or several if the frame
            before was shown for longer than `hop_s`.

        Raises:
            BadVideoError: the frame passes a limit.
        """
        if self._convert is None:
            self._convert = FrameConverter(self._name, self._shards, self._limits, frame.pixel_aspect)
        rate_fps = self._shards.frame_rate_fps
        first_missing = math.ceil((frame.time_s - STAMP_ROUNDING_S) * rate_fps)
        self._taken = max(self._taken, first_missing - self._clip.span - round(MAX_PAUSE_S * rate_fps))
        clips: list[np.ndarray] = []
        while self._shown is not None and self._taken < first_missing:
            clips += self._take(self._shown)
        self._shown = frame.picture
        if self._taken / rate_fps <= frame.time_s + STAMP_ROUNDING_S:
            clips += self._take(frame.picture)
        return clips

    def finish(self) -> list[np.ndarray]:
        """Complete the only clip of a video that is shorter than one: hold its last frame, as a player does.

        Returns:
            That clip, or none, in a list.
        """
        clips: list[np.ndarray] = []
        while self._shown is not None and not self._made:
            clips += self._take(self._shown)
        return clips

    def _take(self, picture: Any) -> list[np.ndarray]:
        """Take a picture for the next moment; return the clip that ends with it, if any, in a list."""
        if picture is not self._converted:
            assert self._convert is not None
            before_px = (self._shards.frame_size_px - self._clip.crop_size_px) // 2
            centre = slice(before_px, before_px + self._clip.crop_size_px)
            self._converted, self._pixels = picture, self._convert(picture)[centre, centre]
        self._kept.append(self._pixels)
        self._taken += 1
        if len(self._kept) < self._clip.span or (self._taken - self._clip.span) % self._hop:
            return []
        self._made += 1
        return [np.stack(list(self._kept)[:: self._clip.frame_stride])]
