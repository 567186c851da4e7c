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
