"""Synthetic videos whose class is their motion and nothing else."""

import json
import os
import shutil
from fractions import Fraction
from pathlib import Path

import numpy as np

from deepvideo_tf.errors import ConfigError, ShardError

FRAME_RATE_FPS = 25
SIZE_PX = 128
NUM_FRAMES = 40
TEXTURE_PX = 256
MIN_SPEED_PX, MAX_SPEED_PX = 3, 5  # a frame
NOTE_NAME = ".synthetic.json"

# Class name to the direction in which the picture moves, (down, right).
DIRECTIONS = {"moves_down": (1, 0), "moves_left": (0, -1), "moves_right": (0, 1), "moves_up": (-1, 0)}


def make_synthetic(video_root, *, videos_per_class=32, seed=0, on_video=None):
    """Renders H.264 mp4 files `<video_root>/<class>/<number>.mp4` of random textures that drift in four directions.

    A frame says nothing about the class: played backwards, a video of `moves_left` is one of `moves_right`, with the
    very same frames. A mirror image changes the class, so train without `flip`.

    The folder gets its name when it is whole; a folder that an equal call has made is left as it is.

    Args:
        video_root: the folder to make.
        videos_per_class: videos of each of the four classes, 2 or more.
        seed: of the textures and speeds.
        on_video: called with no arguments after each video, for a progress bar.

    Returns:
        `video_root` as a path.

    Raises:
        ConfigError: an argument is outside its range.
        ShardError: the folder exists and holds something else, or cannot be written.
    """
    if not isinstance(videos_per_class, int) or videos_per_class < 2:
        raise ConfigError(f"videos_per_class must be a whole number, 2 or more. Received: {videos_per_class!r}")
    if not isinstance(seed, int) or seed < 0:
        raise ConfigError(f"seed must be a whole number, 0 or more. Received: {seed!r}")
    video_root = Path(video_root)
    note = json.dumps({"videos_per_class": videos_per_class, "seed": seed})
    if video_root.is_dir() and any(video_root.iterdir()):
        note_path = video_root / NOTE_NAME
        if note_path.is_file() and note_path.read_text() == note:
            found = len(list(video_root.glob("*/*.mp4")))
            if found == len(DIRECTIONS) * videos_per_class:
                return video_root
            raise ShardError(
                f"{video_root}: expected {len(DIRECTIONS) * videos_per_class} videos, found {found}; delete it"
            )
        raise ShardError(f"{video_root}: expected a new or empty folder, found one with other files")
    unfinished = video_root.with_name(f".unfinished-{video_root.name}")
    try:
        shutil.rmtree(unfinished, ignore_errors=True)  # of a call that was killed
        for class_number, name in enumerate(DIRECTIONS):
            (unfinished / name).mkdir(parents=True)
            for number in range(videos_per_class):
                rng = np.random.default_rng([seed, class_number, number])
                texture, offset = _texture(rng), rng.integers(TEXTURE_PX, size=2)
                step = np.array(DIRECTIONS[name]) * rng.integers(MIN_SPEED_PX, MAX_SPEED_PX, endpoint=True)
                _write_video(unfinished / name / f"{number:04d}.mp4", _drifting_frames(texture, offset, step))
                if on_video is not None:
                    on_video()
        (unfinished / NOTE_NAME).write_text(note)
        os.replace(unfinished, video_root)
    except OSError as error:
        raise ShardError(f"{video_root}: cannot be written: {error.strerror}") from None
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return video_root


def _texture(rng):
    """A random coloured texture that tiles, uint8 `[TEXTURE_PX, TEXTURE_PX, 3]`: noise with a 1/f spectrum."""
    frequency = np.hypot(np.fft.fftfreq(TEXTURE_PX)[:, None], np.fft.fftfreq(TEXTURE_PX)[None, :]) * TEXTURE_PX
    # Nothing below 3 nor above 24 waves a texture: spots large enough to survive half resolution and compression.
    amplitude = np.where((frequency >= 3) & (frequency <= 24), 1 / np.maximum(frequency, 1), 0)
    noise = np.fft.ifft2(np.fft.fft2(rng.standard_normal((3, TEXTURE_PX, TEXTURE_PX))) * amplitude).real
    noise /= noise.std(axis=(1, 2), keepdims=True)
    return np.clip(128 + 48 * noise, 0, 255).astype(np.uint8).transpose(1, 2, 0)


def _drifting_frames(texture, offset, step):
    """Yields frames, uint8 `[SIZE_PX, SIZE_PX, 3]`, of a texture that moves by `step`, (down, right), a frame."""
    for number in range(NUM_FRAMES):
        # The window moves against the direction in which the picture is seen to move.
        top, left = (offset - number * step) % TEXTURE_PX
        yield np.roll(texture, (-top, -left), axis=(0, 1))[:SIZE_PX, :SIZE_PX]


def _write_video(path, frames):
    """Encodes frames as H.264 in an mp4 file."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FRAME_RATE_FPS, options={"crf": "18", "preset": "veryfast"})
        stream.width = stream.height = SIZE_PX
        stream.pix_fmt = "yuv420p"
        stream.thread_count = 1  # the bytes must not depend on the machine
        stream.codec_context.time_base = Fraction(1, FRAME_RATE_FPS)
        for pixels in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")))
        container.mux(stream.encode())
