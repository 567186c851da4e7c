"""Random changes to training clips, each a function of a seed, int64 `[2]`, and the same for all frames of a clip."""

from dataclasses import dataclass

import tensorflow as tf

from deepvideo_tf.config import ClipSpec, check_number


@dataclass(frozen=True)
class Augmentation:
    """What training does besides random frames, crops and mirroring. 0 turns each off; the paper has none of them.

    Args:
        colour_jitter: how far saturation, contrast and brightness are changed, in [0, 1).
        time_jitter: by which fraction the distance of the frames is changed, in [0, 1).
        mixup_alpha: clips are mixed in proportions drawn from Beta(alpha, alpha), at least 0.

    Raises:
        ConfigError: a field is outside its range.
    """

    colour_jitter: float = 0.0
    time_jitter: float = 0.0
    mixup_alpha: float = 0.0

    def __post_init__(self) -> None:
        check_number("colour_jitter", self.colour_jitter, least=0, below=1)
        check_number("time_jitter", self.time_jitter, least=0, below=1)
        check_number("mixup_alpha", self.mixup_alpha, least=0)


def random_frames(seed: tf.Tensor, stored_frames: int, clip: ClipSpec, time_jitter: float) -> tf.Tensor:
    """Draw where a model's clip begins within a stored clip, and how fast its motion is.

    The distance of the frames is the clip's stride times a draw from 1 - `time_jitter` to 1 + `time_jitter`, or to what
    the stored clip has room for. Differs from the paper, which has no time jitter.

    Returns the numbers of the frames, int32 `[num_frames]`, ascending.
    """
    if not time_jitter:
        room = stored_frames - clip.span + 1
        start = tf.random.stateless_uniform([], seed, maxval=room, dtype=tf.int32)
        return start + clip.frame_stride * tf.range(clip.num_frames)
    most = (stored_frames - 1) / max(1, clip.span - 1)
    factor = tf.random.stateless_uniform([], tf.random.fold_in(seed, 0), 1 - time_jitter, min(1 + time_jitter, most))
    steps = tf.range(clip.num_frames, dtype=tf.float32) * clip.frame_stride * factor
    offsets = tf.cast(tf.round(steps), tf.int32)
    room = stored_frames - offsets[-1]
    start = tf.random.stateless_uniform([], tf.random.fold_in(seed, 1), maxval=room, dtype=tf.int32)
    return start + offsets


def random_view(seed: tf.Tensor, frame_size_px: int, clip: ClipSpec) -> tf.Tensor:
    """Draw a crop, mirrored with probability 0.5 if the clip allows it (section 3.3).

    Returns int32 `[3]`: top_px, left_px, and 1 if mirrored.
    """
    corner = tf.random.stateless_uniform(
        [2], tf.random.fold_in(seed, 0), maxval=frame_size_px - clip.crop_size_px + 1, dtype=tf.int32
    )
    mirrored = tf.random.stateless_uniform([1], tf.random.fold_in(seed, 1), maxval=2, dtype=tf.int32)
    return tf.concat([corner, mirrored if clip.flip else tf.zeros_like(mirrored)], axis=0)


def jitter_colors(seed: tf.Tensor, pixels: tf.Tensor, strength: float) -> tf.Tensor:
    """Change saturation, contrast and brightness of a clip by factors drawn from 1 - strength to 1 + strength.

    All frames, uint8 `[time, height, width, 3]`, get the same factors. Differs from the paper, which does not do this:
    on a small data set a model memorizes the colors of the videos.
    """
    saturation, contrast, brightness = tf.unstack(
        tf.random.stateless_uniform([3], seed, minval=1 - strength, maxval=1 + strength)
    )
    colors = tf.cast(pixels, tf.float32)
    gray = tf.reduce_mean(colors, axis=-1, keepdims=True)
    colors = gray + saturation * (colors - gray)
    mean = tf.reduce_mean(gray)
    colors = brightness * (mean + contrast * (colors - mean))
    return tf.saturate_cast(tf.round(colors), tf.uint8)


def mix_up(seed: tf.Tensor, clips: tf.Tensor, targets: tf.Tensor, alpha: float) -> tuple[tf.Tensor, tf.Tensor]:
    """Mix each clip of a batch with the one at the mirrored position, and their targets in the same proportion.

    The proportion is drawn from Beta(alpha, alpha) for each clip. Differs from the paper, which does not do this. Clips
    are uint8 `[batch, time, height, width, 3]`, targets float32 `[batch, class]`, before and after.
    """
    draws = tf.random.stateless_gamma([2, tf.shape(clips)[0]], seed, alpha)
    part = draws[0] / tf.maximum(draws[0] + draws[1], 1e-12)
    of_clip, of_target = part[:, None, None, None, None], part[:, None]
    colors = tf.cast(clips, tf.float32)
    mixed = of_clip * colors + (1 - of_clip) * colors[::-1]
    return tf.saturate_cast(tf.round(mixed), tf.uint8), of_target * targets + (1 - of_target) * targets[::-1]
