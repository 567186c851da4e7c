"""Videos while they run: frames from a camera, and the clips that frames make as they come."""

import math
import time
from collections import deque

import numpy as np

from deepvideo_tf.config import ClipSpec, DecodeLimits, ShardSpec, check_number
from deepvideo_tf.data.sampling import view_boxes, view_of
from deepvideo_tf.data.video.decode import STAMP_ROUNDING_S, Frame, FrameConverter
from deepvideo_tf.errors import BadVideoError, ConfigError

MAX_PAUSE_S = 10.0  # of a frame that is shown for longer no more is looked at: a stamp may be years off


def camera_frames(number):
    """Yields the frames of a camera, without end.

    Args:
        number: of the camera, from 0.

    Yields:
        `Frame`s; their time is that of their arrival.

    Raises:
        BadVideoError: there is no such camera, or it stops.
        ConfigError: OpenCV is not installed, which PyAV's own build without cameras makes necessary.
    """
    try:
        import cv2
    except ImportError:
        raise ConfigError("a camera needs the extra: pip install 'deepvideo-tf[camera]'") from None
    import av

    name = f"camera {number}"
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # what goes wrong is raised
    camera = cv2.VideoCapture(number)
    try:
        if not camera.isOpened():
            raise BadVideoError(name, "it is not there, or in use")
        camera.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # a slow model is to see what is, not what was
        start_s = time.monotonic()
        while True:
            is_there, pixels = camera.read()
            if not is_there:
                raise BadVideoError(name, "it gives no more frames")
            yield Frame(time.monotonic() - start_s, av.VideoFrame.from_ndarray(pixels, format="bgr24"))
    finally:
        camera.release()


class ClipWindow:
    """Makes clips of frames that come one by one, as the shards' clips are made: by time, at their rate and size.

    Args:
        name: the video, for messages.
        shards: rate and size of the stored frames.
        clip: what the model sees of them.
        hop_s: seconds from the start of one clip to the next; rounded to whole frames, one at least.
        limits: of which the pixels of a frame count here; None for the defaults.

    Raises:
        ConfigError: `hop_s` is no number above 0.
    """

    def __init__(self, name, shards: ShardSpec, clip: ClipSpec, *, hop_s, limits: DecodeLimits | None = None):
        check_number("hop_s", hop_s, above=0)
        self._name, self._shards, self._clip = name, shards, clip
        self._limits = limits or DecodeLimits()
        self._hop = max(1, round(hop_s * shards.frame_rate_fps))
        self._kept: deque[np.ndarray] = deque(maxlen=clip.span)
        self._taken = 0  # moments 1 / frame_rate_fps apart that have their frame
        self._made = 0
        self._shown = None
        self._convert: FrameConverter | None = None
        self._converted, self._pixels = None, np.empty(0)  # the picture taken last, and what the model sees of it

    def push(self, frame: Frame):
        """Takes the next frame.

        Args:
            frame: later than the one before.

        Returns:
            List of the clips that are complete now, uint8 `[time, height, width, 3]`: none or one, or several where
            the frame before was shown for longer than `hop_s`.

        Raises:
            BadVideoError: the frame passes a limit.
        """
        if self._convert is None:
            self._convert = FrameConverter(self._name, self._shards, self._limits, frame.pixel_aspect)
        rate_fps = self._shards.frame_rate_fps
        first_missing = math.ceil((frame.time_s - STAMP_ROUNDING_S) * rate_fps)
        self._taken = max(self._taken, first_missing - self._clip.span - round(MAX_PAUSE_S * rate_fps))
        clips = []
        while self._shown is not None and self._taken < first_missing:
            clips += self._take(self._shown)
        self._shown = frame.picture
        if self._taken / rate_fps <= frame.time_s + STAMP_ROUNDING_S:
            clips += self._take(frame.picture)
        return clips

    def finish(self):
        """The clip of a video that ended before its first one was complete: its last frame is held, as a player does.

        Returns:
            List of that clip, or of none.
        """
        clips: list[np.ndarray] = []
        while self._shown is not None and not self._made:
            clips += self._take(self._shown)
        return clips

    def _take(self, picture):
        """Takes a picture for the next moment; a list of the clip that ends with it, if one does."""
        if picture is not self._converted:
            size_px = self._clip.crop_size_px
            (center,) = view_boxes(self._shards.frame_size_px, size_px, num_views=1, flip=False)
            self._converted, self._pixels = picture, view_of(self._convert(picture), center, size_px)
        self._kept.append(self._pixels)
        self._taken += 1
        if len(self._kept) < self._clip.span or (self._taken - self._clip.span) % self._hop:
            return []
        self._made += 1
        return [np.stack(list(self._kept)[:: self._clip.frame_stride])]
