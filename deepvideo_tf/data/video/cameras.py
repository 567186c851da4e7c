"""Frames from a camera."""

import time
from collections.abc import Iterator
from typing import Any

from deepvideo_tf.data.video.decode import Frame
from deepvideo_tf.errors import BadVideoError, ConfigError


def camera_frames(number: int) -> Iterator[Frame]:
    """Yield the frames of a camera, without end.

    Args:
        number: of the camera, from 0.

    Yields:
        `Frame`s; their time is that of their arrival, seconds from the start.

    Raises:
        BadVideoError: there is no such camera, or it stops.
        ConfigError: OpenCV is not installed; PyAV's own build has no cameras.
    """
    try:
        import cv2
    except ImportError:
        raise ConfigError("a camera needs the extra: pip install 'deepvideo-tf[camera]'") from None
    import av

    name = f"camera {number}"
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # errors are raised
    camera: Any = cv2.VideoCapture(number)
    try:
        if not camera.isOpened():
            raise BadVideoError(name, "it is not there, or in use")
        camera.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # a slow model must see the present
        start_s = time.monotonic()
        while True:
            is_there, pixels = camera.read()
            if not is_there:
                raise BadVideoError(name, "it gives no more frames")
            yield Frame(time.monotonic() - start_s, av.VideoFrame.from_ndarray(pixels, format="bgr24"))
    finally:
        camera.release()
