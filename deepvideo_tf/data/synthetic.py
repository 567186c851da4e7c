"""Synthetic videos whose classes differ in one thing only: a color, or one kind of motion, anywhere or off-center."""

import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from deepvideo_tf.config.checks import check_bool, check_choice, check_int
from deepvideo_tf.errors import ShardError
from deepvideo_tf.storage.paths import on_disk

FRAME_RATE_FPS = 25
SIZE_PX = 128
NUM_FRAMES = 40
TEXTURE_PX = 256
GRAY = 128  # the mean of a texture
MIN_SPEED_PX, MAX_SPEED_PX = 3, 5  # per frame
MIN_TURN_DEGREES, MAX_TURN_DEGREES = 3, 5  # per frame
MIN_ZOOM_OCTAVES, MAX_ZOOM_OCTAVES = 0.04, 0.07  # per frame; an octave doubles what is seen
# Well below the lowest speed of a `direction` times sin 45 degrees, 2.1: the class remains the direction of the four in
# which the picture moves most, however the camera pans.
MIN_PAN_PX, MAX_PAN_PX = 1, 1.5  # per frame
# A strip along an edge of the frame. It ends 28 px into the frame's 128: the centre half begins at 32, and the fovea of
# a crop of 178 px out of 200, wherever the crop lies, at 28.5.
PATCH_GAP_PX, PATCH_DEPTH_PX, PATCH_LENGTH_PX = 2, 26, 76
NOTE_NAME = ".synthetic.json"

# Class name to the direction in which the picture moves, (down, right).
DIRECTIONS = {"moves_down": (1, 0), "moves_left": (0, -1), "moves_right": (0, 1), "moves_up": (-1, 0)}
# Class name to what is added to red, green and blue.
TINTS = {"looks_blue": (-20, -20, 40), "looks_green": (-20, 40, -20), "looks_red": (40, -20, -20)}
# Class name to the sign of the motion.
TURNS = {"turns_clockwise": 1, "turns_counterclockwise": -1}
ZOOMS = {"zooms_in": 1, "zooms_out": -1}
# Class name to the tempo in Hz: from three beats a video to three frames a beat. None shares a factor with the frame
# rate: in one second each tempo goes through the same 25 phases, in its own order.
TEMPOS = {"pulses_at_2_hz": 2, "pulses_at_4_hz": 4, "pulses_at_8_hz": 8}

# Kind to its classes, each with the value that makes it.
KINDS: dict[str, Mapping[str, Any]] = {
    "appearance": TINTS,
    "direction": DIRECTIONS,
    "rhythm": TEMPOS,
    "rotation": TURNS,
    "zoom": ZOOMS,
}

# Arguments that older notes lack.
_OLD_ARGUMENTS = {"kind": "direction", "off_centre": False, "camera_motion": False}


def make_synthetic(
    video_root: str | os.PathLike[str],
    *,
    kind: str = "direction",
    videos_per_class: int = 32,
    seed: int = 0,
    off_centre: bool = False,
    camera_motion: bool = False,
    on_video: Callable[[], object] | None = None,
) -> Path:
    """Render H.264 mp4 files `<video_root>/<class>/<number>.mp4` of random textures.

    The classes differ in one thing only:

    - `appearance`: the color of every frame; the texture drifts in a random direction.
    - `direction`: the texture drifts down, left, right or up.
    - `rotation`: the texture turns clockwise or counterclockwise.
    - `zoom`: the texture grows or shrinks, without end.
    - `rhythm`: the texture is still, its brightness pulses at one of three tempos.

    For all kinds but `appearance`, a single frame does not show the class. Played backwards, a video of `moves_left` is
    one of `moves_right` with exactly the same frames, and likewise with `rotation` and `zoom`; in one second, every
    tempo of a `rhythm` shows the same 25 frames, in its own order. Mirroring changes the class of a `direction` and of
    a `rotation`: train these without `flip`.

    The folder gets its name when it is complete. A folder made by a call with equal arguments is left as it is.

    Args:
        video_root: the folder to make.
        kind: what distinguishes the classes, one of `KINDS`.
        videos_per_class: videos per class, 2 or more.
        seed: seed of the textures, speeds and positions.
        off_centre: whether the above is visible only in a strip along one of the four edges, outside the fovea of a
            two-stream net. The rest is another random texture, which does not depend on the class.
        camera_motion: whether the whole picture also drifts, at 1 to 1.5 px per frame in a random direction. The strip
            of `off_centre` stays in its place; what is visible in it and around it drifts.
        on_video: called with no arguments after each video, for a progress bar.

    Returns:
        `video_root` as a path.

    Raises:
        ConfigError: an argument is outside its range.
        ShardError: the folder exists and holds something else, or cannot be written.
    """
    check_choice("kind", kind, tuple(KINDS))
    check_int("videos_per_class", videos_per_class, 2)
    check_int("seed", seed, 0)
    check_bool("off_centre", off_centre)
    check_bool("camera_motion", camera_motion)
    controls = {"off_centre": off_centre, "camera_motion": camera_motion}
    arguments = {"kind": kind, "videos_per_class": videos_per_class, "seed": seed, **controls}
    root = on_disk("video_root", video_root)
    if root.is_dir() and any(root.iterdir()):
        _check_made_before(root, arguments)
        return root
    unfinished = root.with_name(f".unfinished-{root.name}")
    try:
        shutil.rmtree(unfinished, ignore_errors=True)  # of a call that was killed
        for class_number, name in enumerate(KINDS[kind]):
            (unfinished / name).mkdir(parents=True)
            for number in range(videos_per_class):
                rng = np.random.default_rng([seed, class_number, number])
                _write_video(unfinished / name / f"{number:04d}.mp4", render(kind, name, rng, **controls))
                if on_video is not None:
                    on_video()
        (unfinished / NOTE_NAME).write_text(json.dumps(arguments))
        os.replace(unfinished, root)
    except OSError as error:
        raise ShardError(f"{root}: cannot be written: {error.strerror}") from None
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return root


def _check_made_before(video_root: Path, arguments: dict[str, Any]) -> None:
    """Raise ShardError unless a call with equal arguments made the folder and it is still complete."""
    try:
        note = json.loads((video_root / NOTE_NAME).read_text())
    except (OSError, ValueError):
        note = None
    if not isinstance(note, dict) or _OLD_ARGUMENTS | note != arguments:
        raise ShardError(f"{video_root}: expected a new or empty folder, found one with other files")
    expected = len(KINDS[arguments["kind"]]) * arguments["videos_per_class"]
    found = len(list(video_root.glob("*/*.mp4")))
    if found != expected:
        raise ShardError(f"{video_root}: expected {expected} videos, found {found}; delete it")


def render(
    kind: str, name: str, rng: np.random.Generator, *, off_centre: bool = False, camera_motion: bool = False
) -> Iterator[np.ndarray]:
    """Render the frames of one video.

    What is drawn from `rng` does not depend on the class: with the same draws, videos of two classes differ only in
    what distinguishes the classes.

    Args:
        kind: one of `KINDS`.
        name: a class of that kind.
        rng: random generator.
        off_centre: whether the class is visible only in a strip along an edge.
        camera_motion: whether the whole picture also drifts.

    Yields:
        uint8 `[SIZE_PX, SIZE_PX, 3]`.
    """
    texture, corner = _texture(rng), rng.integers(TEXTURE_PX, size=2)
    scene = _SCENES[kind](KINDS[kind][name], partial(_sample, texture, corner + SIZE_PX // 2), rng)
    background, patch = (_texture(rng), draw_patch(rng)) if off_centre else (None, np.s_[:SIZE_PX, :SIZE_PX])
    # Drawn last, so that the rest of the video is the same without it.
    pan = _step(rng, MIN_PAN_PX, MAX_PAN_PX) if camera_motion else np.zeros(2)
    middle = np.array([(side.start or 0) + side.stop for side in patch])[:, None, None] / 2
    grid = np.indices((SIZE_PX, SIZE_PX), dtype=float)
    for number in range(NUM_FRAMES):
        # The offset is 0 halfway through the video, so that it remains small.
        positions = grid - (number - (NUM_FRAMES - 1) / 2) * pan[:, None, None]
        pixels = np.empty((SIZE_PX, SIZE_PX, 3)) if background is None else _sample(background, np.zeros(2), positions)
        pixels[patch] = scene(positions[:, *patch] - middle, number)
        yield np.rint(np.clip(pixels, 0, 255)).astype(np.uint8)


# A scene is a function from positions, float `[2, height, width]`, (down, right) from its middle in px, and the number
# of the frame to colors, float `[height, width, 3]`. Each of the following functions makes one from the value of a
# class, a function `look` from positions to the colors of a texture, and a random generator.
Look = Callable[[np.ndarray], np.ndarray]
Scene = Callable[[np.ndarray, int], np.ndarray]


def _tinted(tint: tuple[int, int, int], look: Look, rng: np.random.Generator) -> Scene:
    """Return a scene with a tint that drifts in a random direction."""
    step = _step(rng, MIN_SPEED_PX, MAX_SPEED_PX)
    return lambda positions, number: look(positions - number * step[:, None, None]) + np.array(tint)


def _drifting(direction: tuple[int, int], look: Look, rng: np.random.Generator) -> Scene:
    """Return a scene that drifts in a direction, by a whole number of px per frame."""
    step = np.array(direction) * rng.integers(MIN_SPEED_PX, MAX_SPEED_PX, endpoint=True)
    # The color at a position comes from where the texture was: against the direction of its motion.
    return lambda positions, number: look(positions - number * step[:, None, None])


def _turning(sign: int, look: Look, rng: np.random.Generator) -> Scene:
    """Return a scene that turns about its middle, from a random angle."""
    start = rng.uniform(0, 2 * np.pi)
    step = sign * np.deg2rad(rng.uniform(MIN_TURN_DEGREES, MAX_TURN_DEGREES))

    def scene(positions: np.ndarray, number: int) -> np.ndarray:
        cosine, sine = np.cos(start + number * step), np.sin(start + number * step)
        down, right = positions
        return look(np.stack([cosine * down - sine * right, cosine * right + sine * down]))

    return scene


def _zooming(sign: int, look: Look, rng: np.random.Generator) -> Scene:
    """Return a scene that grows or shrinks without end, and looks the same at all times.

    The texture is visible at two scales at once, an octave apart. As both grow, the larger one fades out and the
    smaller one fades in; an octave later they have swapped. Neither a frame nor its position in the video shows the
    class.
    """
    start, rate = rng.uniform(0, 1), sign * rng.uniform(MIN_ZOOM_OCTAVES, MAX_ZOOM_OCTAVES)

    def scene(positions: np.ndarray, number: int) -> np.ndarray:
        octaves = (start - number * rate) % 1 + np.arange(2)  # by which more of the texture is visible, plus 1
        # The squares of the weights add up to 1: the contrast is the same at all times.
        layers = [np.sin(np.pi * octave / 2) * (look(positions * 2 ** (octave - 1)) - GRAY) for octave in octaves]
        return GRAY + sum(layers)

    return scene


def _pulsing(tempo_hz: int, look: Look, rng: np.random.Generator) -> Scene:
    """Return a still scene whose brightness pulses, from a random phase."""
    start, step = rng.uniform(0, 2 * np.pi), 2 * np.pi * tempo_hz / FRAME_RATE_FPS
    return lambda positions, number: look(positions) * (0.7 + 0.3 * np.sin(start + number * step))


_SCENES: dict[str, Callable[[Any, Look, np.random.Generator], Scene]] = {
    "appearance": _tinted,
    "direction": _drifting,
    "rhythm": _pulsing,
    "rotation": _turning,
    "zoom": _zooming,
}


def _step(rng: np.random.Generator, least_px: float, most_px: float) -> np.ndarray:
    """Draw a motion in a random direction, float `[2]`, (down, right) px per frame."""
    speed_px, angle = rng.uniform(least_px, most_px), rng.uniform(0, 2 * np.pi)
    return speed_px * np.array([np.sin(angle), np.cos(angle)])


def draw_patch(rng: np.random.Generator) -> tuple[slice, slice]:
    """Draw a strip along one of the four edges: its rows and columns."""
    edge = rng.integers(4)
    near = slice(PATCH_GAP_PX, PATCH_GAP_PX + PATCH_DEPTH_PX)
    across = near if edge < 2 else slice(SIZE_PX - near.stop, SIZE_PX - near.start)
    along = slice((SIZE_PX - PATCH_LENGTH_PX) // 2, (SIZE_PX + PATCH_LENGTH_PX) // 2)
    return (across, along) if edge % 2 else (along, across)


def _texture(rng: np.random.Generator) -> np.ndarray:
    """Draw a colored texture that tiles, uint8 `[TEXTURE_PX, TEXTURE_PX, 3]`: noise with a 1/f spectrum."""
    frequency = np.hypot(np.fft.fftfreq(TEXTURE_PX)[:, None], np.fft.fftfreq(TEXTURE_PX)[None, :]) * TEXTURE_PX
    # From 3 to 24 waves per texture: spots large enough to survive half resolution and compression.
    amplitude = np.where((frequency >= 3) & (frequency <= 24), 1 / np.maximum(frequency, 1), 0)
    noise = np.fft.ifft2(np.fft.fft2(rng.standard_normal((3, TEXTURE_PX, TEXTURE_PX))) * amplitude).real
    noise /= noise.std(axis=(1, 2), keepdims=True)
    return np.clip(GRAY + 48 * noise, 0, 255).astype(np.uint8).transpose(1, 2, 0)


def _sample(texture: np.ndarray, origin: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Interpolate the colors of a tiling texture, float64 `[height, width, 3]`, between its pixels.

    Positions are float `[2, height, width]`, (down, right) in px from the origin on the texture, `[2]`.
    """
    positions = positions + origin[:, None, None]
    whole = np.floor(positions).astype(int)
    (top, left), (bottom, right) = whole % TEXTURE_PX, (whole + 1) % TEXTURE_PX
    down, across = (positions - whole)[..., None]
    if not down.any() and not across.any():  # a `direction`: several times as fast
        return texture[top, left].astype(float)
    upper = (1 - across) * texture[top, left] + across * texture[top, right]
    lower = (1 - across) * texture[bottom, left] + across * texture[bottom, right]
    return (1 - down) * upper + down * lower


def _write_video(path: Path, frames: Iterable[np.ndarray]) -> None:
    """Encode frames as H.264 in an mp4 file."""
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
