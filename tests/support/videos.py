"""Videos that tests write."""

from fractions import Fraction

import av


def write_video(path, frames, fps=25, codec="libx264rgb", times=None):
    """A lossless video of the frames, uint8 `[time, height, width, 3]`."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=fps, options={"crf": "0"} if codec == "libx264rgb" else {})
        stream.width, stream.height = frames.shape[2], frames.shape[1]
        stream.pix_fmt = "rgb24" if codec == "libx264rgb" else "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for index, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.time_base = Fraction(1, 1000)
            frame.pts = round(1000 * (index / fps if times is None else times[index]))
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path
