"""From a video file to its classes."""

from dataclasses import replace

import numpy as np

from deepvideo_tf.config import DecodeLimits
from deepvideo_tf.data.decode_process import DecoderProcess
from deepvideo_tf.data.sampling import MAX_VIEWS, centred_frame_start, view_boxes
from deepvideo_tf.errors import ConfigError, ModelFileError
from deepvideo_tf.predictors import Predictor, load_predictor

BATCH_CLIPS = 32


def predict_video(
    predictor: Predictor, video, *, clips_per_video=None, num_views=1, limits: DecodeLimits | None = None
):
    """Classifies one video: its clips' and their views' probabilities averaged (section 4.1).

    Args:
        predictor: from `load_predictor`; or a path, which is loaded first.
        video: the video file.
        clips_per_video: clips looked at, evenly spaced; None for as many as the model was trained with.
        num_views: crops and mirrorings of each clip, 1 (the centre) to 5; the paper's tests use 4.
        limits: what decoding the video may cost; None for the defaults.

    Returns:
        Dict from class name to probability, highest first.

    Raises:
        BadVideoError: the video cannot be decoded.
        ModelFileError: the model cannot be loaded, or answers what is no probability.
        ConfigError: an argument is outside its range.
    """
    if not isinstance(predictor, Predictor):
        predictor = load_predictor(predictor)
    card = predictor.card
    if not isinstance(num_views, int) or not 1 <= num_views <= MAX_VIEWS:
        raise ConfigError(f"num_views must be a whole number from 1 to {MAX_VIEWS}. Received: {num_views!r}")
    spec = card.shards if clips_per_video is None else replace(card.shards, clips_per_video=clips_per_video)
    with DecoderProcess(limits) as decoder:
        decoded = decoder.decode(video, spec, encode=False)
    views = np.stack([view for clip in decoded for view in _views(np.stack(clip.frames), card, num_views)])
    batches = [views[start : start + BATCH_CLIPS] for start in range(0, len(views), BATCH_CLIPS)]
    mean = np.concatenate([predictor.probabilities(batch) for batch in batches]).mean(axis=0)
    if not np.isfinite(mean).all():
        raise ModelFileError(f"the model answers {mean.tolist()!s:.80} for {video}: its file is damaged")
    order = np.argsort(-mean, kind="stable")
    return {card.classes[label]: float(mean[label]) for label in order}


def _views(frames, card, num_views):
    """Views uint8 `[time, height, width, 3]` of one stored clip, the same ones as evaluation's."""
    clip = card.clip
    start = centred_frame_start(len(frames), clip.span)
    chosen = frames[start : start + clip.span : clip.frame_stride]
    size_px = clip.crop_size_px
    for top, left, mirrored in view_boxes(card.shards.frame_size_px, size_px, num_views, clip.flip):
        view = chosen[:, top : top + size_px, left : left + size_px]
        yield view[:, :, ::-1] if mirrored else view
