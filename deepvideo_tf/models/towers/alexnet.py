"""The convolutional tower and the head that all models of the paper share (section 3.1).

A tower takes a list of columns, one tensor per moment in time, and applies the same layers to each, so that the columns
share their parameters. Where a model fuses time inside the tower, `TemporalWindows` joins neighbouring columns along
their channels just before a convolution.
"""

import keras

from deepvideo_tf.config import check_int, check_number
from deepvideo_tf.models.layers import LocalResponseNormalization, SplitFrames, TemporalWindows

PIXEL_MEAN = 117.0  # section 3.3: the constant subtracted from raw pixels
FILTERS = (96, 256, 384, 384, 256)  # conv1 ... conv5
HIDDEN_UNITS = 4096  # each of the two hidden dense layers
DATA_FORMAT = "channels_last"  # whatever Keras is set to: frames are joined along the last axis

# Differs from the paper, which does not state its initialisation: AlexNet's N(0, 0.01) stays at chance for epochs on a
# small data set, and He's leaves the paper's learning rate too high for raw pixels; with Glorot's it trains at once.
HIDDEN_INITIALIZER = "glorot_uniform"

# A window is (size, stride): how many neighbouring columns a convolution sees, and how many it moves on by.
NO_WINDOWS = ((1, 1), (1, 1), (1, 1))


def scaled(count, width):
    """The number of filters or units `count` becomes at `width`, at least 1."""
    return max(1, round(count * width))


def check_model_arguments(*, num_classes, width, crop_size_px, dropout, lrn_beta, num_frames, min_crop_size_px):
    """Refuses arguments that no model can be built from.

    Args:
        num_classes: 1 or more.
        width: scale of filters and units, above 0 and below 8.
        crop_size_px: height and width of the input, `min_crop_size_px` or more.
        dropout: rate, or pair of rates, at least 0 and below 1.
        lrn_beta: exponent of the local response normalisation, above 0 and below 8.
        num_frames: frames of a clip, 1 or more.
        min_crop_size_px: the smallest input of which the model's last map still has a pixel.

    Raises:
        ConfigError: (a ValueError) naming the argument, what was expected and what came.
    """
    check_int("num_classes", num_classes, 1)
    check_int("num_frames", num_frames, 1)
    check_int("crop_size_px", crop_size_px, min_crop_size_px)
    check_number("width", width, above=0, below=8)
    for rate in _dropout_pair(dropout):
        check_number("dropout", rate, least=0, below=1)
    check_number("lrn_beta", lrn_beta, above=0, below=8)


def _dropout_pair(dropout):
    """The rates after the first and the second hidden dense layer."""
    return tuple(dropout) if isinstance(dropout, (tuple, list)) and len(dropout) == 2 else (dropout, dropout)


def clip_input(num_frames, crop_size_px):
    """The one input of every model, and its frames.

    Args:
        num_frames: T.
        crop_size_px: height and width.

    Returns:
        The input, uint8 `[batch, time, height, width, 3]`, raw pixels; and a list of T float tensors
        `[batch, height, width, 3]`, 117 subtracted (section 3.3).
    """
    clip = keras.Input((num_frames, crop_size_px, crop_size_px, 3), dtype="uint8", name="clip")
    pixels = keras.layers.Rescaling(scale=1.0, offset=-PIXEL_MEAN, name="subtract_mean")(clip)
    return clip, SplitFrames(name="frames")(pixels)


def tower(columns, *, width, lrn_beta, windows=NO_WINDOWS, last_pool=True, prefix=""):
    """C(96,11,3)-N-P-C(256,5,1)-N-P-C(384,3,1)-C(384,3,1)-C(256,3,1)-P over each column (section 3.1).

    Args:
        columns: list of frames, float `[batch, height, width, 3]`.
        width: scale of the numbers of filters; 1 is the paper's.
        lrn_beta: exponent of the normalisation.
        windows: (size, stride) in time before conv1, conv2 and conv3.
        last_pool: False for a stream of the two-stream net, whose last pool is taken out (section 3.2).
        prefix: put before the name of every layer.

    Returns:
        List of the columns that time is fused down to, `[batch, 7, 7, 256]` each at the paper's sizes.
    """

    def conv(number, size, stride=1, padding="same"):
        return keras.layers.Conv2D(
            scaled(FILTERS[number - 1], width),
            size,
            strides=stride,
            padding=padding,
            data_format=DATA_FORMAT,
            activation="relu",
            kernel_initializer=HIDDEN_INITIALIZER,
            name=f"{prefix}conv{number}",
        )

    def norm(number):
        return LocalResponseNormalization(beta=lrn_beta, name=f"{prefix}norm{number}")

    def pool(number):
        return keras.layers.MaxPooling2D(2, padding="same", data_format=DATA_FORMAT, name=f"{prefix}pool{number}")

    stages = [
        [conv(1, 11, stride=3, padding="valid"), norm(1), pool(1)],
        [conv(2, 5), norm(2), pool(2)],
        [conv(3, 3), conv(4, 3), conv(5, 3)] + ([pool(5)] if last_pool else []),
    ]
    for number, (stage, (size, stride)) in enumerate(zip(stages, windows, strict=True), start=1):
        if (size, stride) != (1, 1):
            columns = TemporalWindows(size, stride, name=f"{prefix}conv{number}_windows")(columns)
        for layer in stage:
            columns = [layer(column) for column in columns]
    return columns


def head(ends, *, num_classes, width, dropout):
    """FC(4096)-FC(4096)-classes over the ends of all towers (section 3.1).

    Args:
        ends: list of `[batch, height, width, channel]`, concatenated along their channels.
        num_classes: number of logits.
        width: scale of the numbers of units; 1 is the paper's.
        dropout: rate of both hidden layers, or a pair of theirs; 0.5 as in AlexNet, which the paper follows.

    Returns:
        Logits, float32 `[batch, num_classes]`.
    """
    x = keras.layers.Concatenate(name="ends")(ends) if len(ends) > 1 else ends[0]
    x = keras.layers.Flatten(data_format=DATA_FORMAT, name="flatten")(x)
    for number, rate in zip((6, 7), _dropout_pair(dropout), strict=True):
        x = keras.layers.Dense(
            scaled(HIDDEN_UNITS, width),
            activation="relu",
            kernel_initializer=HIDDEN_INITIALIZER,
            name=f"fc{number}",
        )(x)
        x = keras.layers.Dropout(rate, name=f"dropout{number}")(x)
    small_normal = keras.initializers.RandomNormal(stddev=0.01)
    # float32 whatever the policy: a softmax of half-precision logits loses the small probabilities.
    return keras.layers.Dense(num_classes, kernel_initializer=small_normal, dtype="float32", name="logits")(x)
