"""From a video to its classes: a file as a whole, or frames while they come."""

import contextlib
import os
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from deepvideo_tf.config import DecodeLimits, ModelCard
from deepvideo_tf.data.sampling import MAX_VIEWS, evaluation_views
from deepvideo_tf.data.video.clip_window import ClipWindow
from deepvideo_tf.data.video.decode import Frame
from deepvideo_tf.data.video.process import DecoderProcess
from deepvideo_tf.errors import ConfigError, ModelFileError
from deepvideo_tf.formats.predictors import Predictor, load_predictor

BATCH_CLIPS = 32
RUNNING_S = 2.0  # a running prediction is the mean over the clips that ended at most so long ago
HOP_S = 0.5


@dataclass(frozen=True)
class Moment:
    """A frame of a running video, and its classes so far.

    Args:
        frame: the `Frame`.
        classes: dict from class name to probability, highest first: the mean over the clips of the last 2 seconds; None
            before the first clip is complete.
        is_new: whether a clip ended with this frame.
    """

    frame: Frame
    classes: dict[str, float] | None
    is_new: bool


def predict_video(
    predictor: Predictor | str | os.PathLike[str],
    video: str | os.PathLike[str],
    *,
    clips_per_video: int | None = None,
    num_views: int = 1,
    limits: DecodeLimits | None = None,
    decoder: DecoderProcess | None = None,
) -> dict[str, float]:
    """Classify one video: average the probabilities of its clips and their views (section 4.1).

    Args:
        predictor: from `load_predictor`; or a path, which is loaded first.
        video: the video file.
        clips_per_video: clips looked at, evenly spaced; None for as many as the model was trained with.
        num_views: crops and mirror images of each clip, 1 (the center) to 5; the paper's tests use 4.
        limits: what decoding the video may cost; None for the defaults.
        decoder: an open one, with limits of its own; None for a new one.

    Returns:
        Dict from class name to probability, highest first.

    Raises:
        BadVideoError: the video cannot be decoded.
        ModelFileError: the model cannot be loaded, or its outputs are not probabilities.
        ConfigError: an argument is outside its range.
    """
    model = _loaded(predictor)
    card = model.card
    if not isinstance(num_views, int) or not 1 <= num_views <= MAX_VIEWS:
        raise ConfigError(f"num_views must be a whole number from 1 to {MAX_VIEWS}. Received: {num_views!r}")
    spec = card.shards if clips_per_video is None else replace(card.shards, clips_per_video=clips_per_video)
    with DecoderProcess(limits) if decoder is None else contextlib.nullcontext(decoder) as open_decoder:
        decoded = open_decoder.decode(video, spec, encode=False)
    views = np.concatenate([evaluation_views(np.stack(clip.frames), card.clip, num_views) for clip in decoded])
    batches = [views[start : start + BATCH_CLIPS] for start in range(0, len(views), BATCH_CLIPS)]
    return _ranked(np.concatenate([model.probabilities(batch) for batch in batches]), card, video)


def predict_stream(
    predictor: Predictor | str | os.PathLike[str],
    frames: Iterable[Frame],
    *,
    name: str = "the stream",
    hop_s: float = HOP_S,
    limits: DecodeLimits | None = None,
) -> Iterator[Moment]:
    """Classify a video while it runs: the center view of a clip every `hop_s` seconds.

    Args:
        predictor: from `load_predictor`; or a path, which is loaded first.
        frames: from `data.video.decode.read_frames` or `data.video.cameras.camera_frames`.
        name: the video, for messages.
        hop_s: seconds from the start of one clip to the next, above 0.
        limits: only the pixels of a frame count here; None for the defaults.

    Yields:
        A `Moment` for each frame. A video shorter than a clip gets its one prediction with its last frame, held.

    Raises:
        BadVideoError: the source of the frames raises it, or a frame passes a limit.
        ModelFileError: the model cannot be loaded, or its outputs are not probabilities.
        ConfigError: `hop_s` is outside its range.
    """
    model = _loaded(predictor)
    window = ClipWindow(name, model.card.shards, model.card.clip, hop_s=hop_s, limits=limits)
    recent: deque[tuple[float, np.ndarray]] = deque()
    frame: Frame | None = None
    classes: dict[str, float] | None = None

    def moment(frame: Frame, clips: list[np.ndarray]) -> Moment:
        nonlocal classes
        for row in model.probabilities(np.stack(clips)) if clips else ():
            recent.append((frame.time_s, row))
        if clips:
            while recent[0][0] < frame.time_s - RUNNING_S:
                recent.popleft()
            classes = _ranked(np.stack([row for _, row in recent]), model.card, name)
        return Moment(frame, classes, bool(clips))

    for frame in frames:
        yield moment(frame, window.push(frame))
    clips = window.finish()
    if clips and frame is not None:
        yield moment(frame, clips)


def _loaded(predictor: Predictor | str | os.PathLike[str]) -> Predictor:
    return predictor if isinstance(predictor, Predictor) else load_predictor(predictor)


def _ranked(rows: np.ndarray, card: ModelCard, video: object) -> dict[str, float]:
    """Return the mean of some clips' probabilities, float `[clip, class]`, by class name, highest first."""
    mean = rows.mean(axis=0)
    if not np.isfinite(mean).all():
        raise ModelFileError(f"the model answers {mean.tolist()!s:.80} for {video}: its file is damaged")
    order = np.argsort(-mean, kind="stable")
    return {card.classes[label]: float(mean[label]) for label in order}
