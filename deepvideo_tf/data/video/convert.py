"""From a decoded frame to a stored one: center square, resized, upright."""

from typing import Any

import numpy as np

from deepvideo_tf.config import DecodeLimits, ShardSpec
from deepvideo_tf.errors import BadVideoError

MAX_ASPECT_RATIO = 16


class FrameConverter:
    """Cut the center square of decoded frames, resize it and turn it upright; keep FFmpeg's scaler between frames.

    A JPEG file stores brightness and two half-sized planes of color, as nearly all videos do. So frames that become
    JPEG files are scaled as they are, and never converted to RGB.

    Args:
        path: the video, for messages.
        spec: size, format and quality of the result.
        limits: only the pixels of a frame count here.
        pixel_aspect: width of a pixel divided by its height.
        encode: True for frames as bytes in the spec's format, False for arrays.
    """

    def __init__(
        self,
        path: object,
        spec: ShardSpec,
        limits: DecodeLimits,
        pixel_aspect: float = 1.0,
        encode: bool = False,
    ):
        import av

        self.path = str(path)
        self.size_px = spec.frame_size_px
        self.quality = spec.jpeg_quality
        self.kind = spec.frame_format if encode else "array"
        self.max_pixels = limits.max_frame_pixels
        self.pixel_aspect = pixel_aspect
        self.reformatter: Any = av.video.reformatter.VideoReformatter()

    def __call__(self, frame: Any) -> Any:
        """Convert one frame.

        Args:
            frame: `av.VideoFrame`.

        Returns:
            A JPEG file or raw pixels as bytes, or an array, uint8 `[size_px, size_px, 3]`.

        Raises:
            BadVideoError: the frame passes a limit.
        """
        width_px, height_px = frame.width * self.pixel_aspect, frame.height
        short_px, long_px = sorted((width_px, height_px))
        if long_px > MAX_ASPECT_RATIO * short_px or frame.width * frame.height > self.max_pixels:
            raise BadVideoError(self.path, f"frames of {frame.width} x {frame.height} px pass the limits")
        # A frame is wider (or higher) than the square by a multiple of 4 pixels, so that the center is cut at a whole
        # pixel of the half-sized planes too. This changes its proportions by at most 2 pixels.
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

    def _square(self, plane: np.ndarray, shrunk: int, turns: int) -> np.ndarray:
        """Return the center square of a plane, `shrunk` times smaller than the frame, turned upright."""
        size_px = -(-self.size_px // shrunk)
        top, left = ((extent - size_px) // 2 for extent in plane.shape[:2])
        return np.ascontiguousarray(np.rot90(plane[top : top + size_px, left : left + size_px], turns))
