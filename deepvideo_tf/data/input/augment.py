"""The paper's augmentation, one random crop and mirroring for all frames of a clip (section 3.3), and colour jitter."""

import tensorflow as tf

from deepvideo_tf.config import ClipSpec


def random_frame_start(seed, stored_frames, span):
    """A random first frame for a model's clip within a stored clip.

    Args:
        seed: int64 `[2]`; the draw is a function of it alone.
        stored_frames: frames of the stored clip, int32 scalar.
        span: stored frames that the model's clip spans, at most `stored_frames`.

    Returns:
        int32 scalar.
    """
    return tf.random.stateless_uniform([], seed, maxval=stored_frames - span + 1, dtype=tf.int32)


def jittered_frames(seed, stored_frames, clip: ClipSpec, strength):
    """Frames at a random distance, so that a motion is seen faster or slower.

    Differs from the paper, which has nothing of the kind.

    Args:
        seed: int64 `[2]`; the draw is a function of it alone.
        stored_frames: frames of the stored clip.
        clip: what the model sees, its `span` at most `stored_frames`.
        strength: the distance is the clip's stride times a draw from 1 - strength to 1 + strength, or to what the
            stored clip has room for.

    Returns:
        int32 `[num_frames]`, ascending.
    """
    most = (stored_frames - 1) / max(1, clip.span - 1)
    factor = tf.random.stateless_uniform([], tf.random.fold_in(seed, 0), 1 - strength, min(1 + strength, most))
    steps = tf.range(clip.num_frames, dtype=tf.float32) * clip.frame_stride * factor
    offsets = tf.cast(tf.round(steps), tf.int32)
    room = stored_frames - offsets[-1]
    start = tf.random.stateless_uniform([], tf.random.fold_in(seed, 1), maxval=room, dtype=tf.int32)
    return start + offsets


def mix_up(seed, clips, targets, alpha):
    """Mixes each clip with the one at its mirrored place in the batch, and their targets in the same proportion.

    Differs from the paper, which has nothing of the kind.

    Args:
        seed: int64 `[2]`; the draw is a function of it alone.
        clips: uint8 `[batch, time, height, width, 3]`.
        targets: float32 `[batch, class]`.
        alpha: the proportion is drawn from Beta(alpha, alpha) for each clip.

    Returns:
        Clips and targets, as they came.
    """
    draws = tf.random.stateless_gamma([2, tf.shape(clips)[0]], seed, alpha)
    part = draws[0] / tf.maximum(draws[0] + draws[1], 1e-12)
    of_clip, of_target = part[:, None, None, None, None], part[:, None]
    colours = tf.cast(clips, tf.float32)
    mixed = of_clip * colours + (1 - of_clip) * colours[::-1]
    return tf.saturate_cast(tf.round(mixed), tf.uint8), of_target * targets + (1 - of_target) * targets[::-1]


def random_view(seed, frame_size_px, clip: ClipSpec):
    """A random crop, mirrored with probability 0.5 where the clip allows it (section 3.3).

    Args:
        seed: int64 `[2]`; the draw is a function of it alone.
        frame_size_px: height and width of the stored frame.
        clip: what the model sees.

    Returns:
        int32 `[3]`: top_px, left_px, and 1 where mirrored.
    """
    corner = tf.random.stateless_uniform(
        [2], tf.random.fold_in(seed, 0), maxval=frame_size_px - clip.crop_size_px + 1, dtype=tf.int32
    )
    mirrored = tf.random.stateless_uniform([1], tf.random.fold_in(seed, 1), maxval=2, dtype=tf.int32)
    return tf.concat([corner, mirrored if clip.flip else tf.zeros_like(mirrored)], axis=0)


def jitter_colours(seed, pixels, strength):
    """Changes saturation, contrast and brightness, by the same factors for all frames of a clip.

    Differs from the paper, which has nothing of the kind: in a small data set a model learns the colours of the videos
    by heart.

    Args:
        seed: int64 `[2]`; the draw is a function of it alone.
        pixels: uint8 `[time, height, width, 3]`.
        strength: each factor is drawn from 1 - strength to 1 + strength.

    Returns:
        uint8, same shape.
    """
    saturation, contrast, brightness = tf.unstack(
        tf.random.stateless_uniform([3], seed, minval=1 - strength, maxval=1 + strength)
    )
    colours = tf.cast(pixels, tf.float32)
    grey = tf.reduce_mean(colours, axis=-1, keepdims=True)
    colours = grey + saturation * (colours - grey)
    mean = tf.reduce_mean(grey)
    colours = brightness * (mean + contrast * (colours - mean))
    return tf.saturate_cast(tf.round(colours), tf.uint8)
