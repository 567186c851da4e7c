"""The four ways of fusing time over one full-frame tower (section 3.1, Figure 1)."""

import keras

from deepvideo_tf.config import FUSIONS, check_choice
from deepvideo_tf.errors import ConfigError
from deepvideo_tf.models.towers.alexnet import NO_WINDOWS, check_model_arguments, clip_input, head, tower

# (size, stride) in time before conv1, conv2 and conv3. Early fusion's first window is the whole clip.
SLOW_WINDOWS = ((4, 2), (2, 2), (2, 2))  # 10 frames -> 4 -> 2 -> 1
MIN_FRAMES = {"single_frame": 1, "early_fusion": 1, "late_fusion": 2, "slow_fusion": 10}
MIN_CROP_SIZE_PX = 11  # conv1's filters are 11 pixels wide and VALID


def fusion_windows(fusion, num_frames):
    """The windows in time of each convolution, and a check that the clip is long enough for them.

    Args:
        fusion: `single_frame`, `early_fusion`, `late_fusion` or `slow_fusion`.
        num_frames: frames of the model's clip.

    Returns:
        Three (size, stride) pairs, before conv1, conv2 and conv3.

    Raises:
        ConfigError: another name, or a number of frames that this fusion cannot take.
    """
    check_choice("fusion", fusion, FUSIONS)
    if fusion == "single_frame" and num_frames != 1:
        raise ConfigError(f"num_frames must be 1 for single_frame. Received: {num_frames!r}")
    if num_frames < MIN_FRAMES[fusion]:
        raise ConfigError(f"num_frames must be {MIN_FRAMES[fusion]} or more for {fusion}. Received: {num_frames!r}")
    if fusion == "slow_fusion" and num_frames % 8 != 2:
        # Other lengths leave frames over at the end of a convolution's windows, which nothing would ever see.
        raise ConfigError(f"num_frames must be 10, 18, 26 or so on by 8 for slow_fusion. Received: {num_frames!r}")
    if fusion == "early_fusion":
        return ((num_frames, 1), (1, 1), (1, 1))
    return SLOW_WINDOWS if fusion == "slow_fusion" else NO_WINDOWS


def _full_frame(fusion, num_classes, num_frames, crop_size_px, width, dropout, lrn_beta):
    check_model_arguments(
        num_classes=num_classes,
        width=width,
        crop_size_px=crop_size_px,
        dropout=dropout,
        lrn_beta=lrn_beta,
        num_frames=num_frames,
        min_crop_size_px=MIN_CROP_SIZE_PX,
    )
    windows = fusion_windows(fusion, num_frames)
    clip, frames = clip_input(num_frames, crop_size_px)
    ends = tower(frames, width=width, lrn_beta=lrn_beta, windows=windows)
    logits = head(ends, num_classes=num_classes, width=width, dropout=dropout)
    return keras.Model(clip, logits, name=fusion)


def single_frame(num_classes, *, num_frames=1, crop_size_px=170, width=1.0, dropout=0.5, lrn_beta=0.5):
    """The single-frame net (section 3.1): what a video is, judged from one of its frames.

    Args:
        num_classes: number of logits; 487 in the paper.
        num_frames: 1, and nothing else.
        crop_size_px: height and width of the clip, 11 or more; 170 in the paper.
        width: scale of all filters and hidden units, above 0 and below 8; 1 is the paper's 73,908,071 parameters at
            487 classes.
        dropout: rate after each hidden dense layer, at least 0 and below 1; or a pair, of the first and the second.
        lrn_beta: exponent of the local response normalisation; 0.5 in the paper, 0.75 in AlexNet.

    Returns:
        A `keras.Model` from `clip`, uint8 `[batch, 1, crop_size_px, crop_size_px, 3]`, raw pixels 0 to 255, to logits,
        float32 `[batch, num_classes]`.

    Raises:
        ConfigError: (a ValueError) an argument is outside its range.
    """
    return _full_frame("single_frame", num_classes, num_frames, crop_size_px, width, dropout, lrn_beta)


def early_fusion(num_classes, *, num_frames=10, crop_size_px=170, width=1.0, dropout=0.5, lrn_beta=0.5):
    """Early fusion (section 3.1): the first filters see all frames at once, 11 x 11 x 3 x 10.

    Args:
        num_classes: number of logits; 487 in the paper.
        num_frames: contiguous frames; 10 in the paper.
        crop_size_px: height and width of the clip, 11 or more; 170 in the paper.
        width: scale of all filters and hidden units, above 0 and below 8; 1 is the paper's 74,221,703 parameters at
            487 classes.
        dropout: rate after each hidden dense layer, at least 0 and below 1; or a pair, of the first and the second.
        lrn_beta: exponent of the local response normalisation; 0.5 in the paper, 0.75 in AlexNet.

    Returns:
        A `keras.Model` from `clip`, uint8 `[batch, num_frames, crop_size_px, crop_size_px, 3]`, raw pixels 0 to 255, to
        logits, float32 `[batch, num_classes]`.

    Raises:
        ConfigError: (a ValueError) an argument is outside its range.
    """
    return _full_frame("early_fusion", num_classes, num_frames, crop_size_px, width, dropout, lrn_beta)


def late_fusion(num_classes, *, num_frames=2, crop_size_px=170, width=1.0, dropout=0.5, lrn_beta=0.5):
    """Late fusion (section 3.1): towers with shared weights on frames 15 apart, joined in the first dense layer.

    The distance between the frames is the data's (`ClipSpec.frame_stride`), not the model's.

    Args:
        num_classes: number of logits; 487 in the paper.
        num_frames: frames, 2 or more; 2 in the paper.
        crop_size_px: height and width of the clip, 11 or more; 170 in the paper.
        width: scale of all filters and hidden units, above 0 and below 8; 1 is the paper's 125,288,295 parameters at
            487 classes.
        dropout: rate after each hidden dense layer, at least 0 and below 1; or a pair, of the first and the second.
        lrn_beta: exponent of the local response normalisation; 0.5 in the paper, 0.75 in AlexNet.

    Returns:
        A `keras.Model` from `clip`, uint8 `[batch, num_frames, crop_size_px, crop_size_px, 3]`, raw pixels 0 to 255, to
        logits, float32 `[batch, num_classes]`.

    Raises:
        ConfigError: (a ValueError) an argument is outside its range.
    """
    return _full_frame("late_fusion", num_classes, num_frames, crop_size_px, width, dropout, lrn_beta)


def slow_fusion(num_classes, *, num_frames=10, crop_size_px=170, width=1.0, dropout=0.5, lrn_beta=0.5):
    """Slow fusion (section 3.1): time shrinks 10 -> 4 -> 2 -> 1 over the first three convolutions.

    Args:
        num_classes: number of logits; 487 in the paper.
        num_frames: contiguous frames, 10 or 8 more again and again, so that all are seen; 10 in the paper.
        crop_size_px: height and width of the clip, 11 or more; 170 in the paper.
        width: scale of all filters and hidden units, above 0 and below 8; 1 is the paper's 75,511,751 parameters at
            487 classes.
        dropout: rate after each hidden dense layer, at least 0 and below 1; or a pair, of the first and the second.
        lrn_beta: exponent of the local response normalisation; 0.5 in the paper, 0.75 in AlexNet.

    Returns:
        A `keras.Model` from `clip`, uint8 `[batch, num_frames, crop_size_px, crop_size_px, 3]`, raw pixels 0 to 255, to
        logits, float32 `[batch, num_classes]`.

    Raises:
        ConfigError: (a ValueError) an argument is outside its range.
    """
    return _full_frame("slow_fusion", num_classes, num_frames, crop_size_px, width, dropout, lrn_beta)
