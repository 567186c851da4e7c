"""Chromium, the accessibility checker that runs in it, and videos that it plays."""

import os

import av

from tests.support.repository import REPOSITORY

CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
AXE = REPOSITORY / "build/npm/node_modules/axe-core/axe.min.js"
BT709, UNSPECIFIED = 1, 2  # FFmpeg's numbers of the matrices that turn brightness and color into red, green and blue


def transcode(source, path, codec="libx264", size=None, frames=None, matrix=UNSPECIFIED):
    """Write the frames of a video in a format that browsers can play, which AVI and MPEG-4 are not."""
    with av.open(str(source)) as container, av.open(str(path), "w") as written:
        stream = container.streams.video[0]
        encoder = written.add_stream(codec, rate=stream.average_rate)
        encoder.width, encoder.height = size or (stream.width, stream.height)
        encoder.codec_context.colorspace = matrix
        encoder.pix_fmt = "yuv420p" if codec != "mjpeg" else "yuvj420p"
        for number, frame in enumerate(container.decode(stream)):
            if number == frames:
                break
            frame.pts, frame.pict_type = None, 0
            written.mux(encoder.encode(frame))
        written.mux(encoder.encode())
    return path
