"""The paper's tower: C(96,11,3)-N-P-C(256,5,1)-N-P-C(384,3,1)-C(384,3,1)-C(256,3,1)-P (section 3.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import keras

from deepvideo_tf.models.layers import DATA_FORMAT, HIDDEN_INITIALIZER, LocalResponseNormalization, scaled
from deepvideo_tf.models.towers import Tower, chain

if TYPE_CHECKING:
    from deepvideo_tf.models.towers import Stage

FILTERS = (96, 256, 384, 384, 256)  # conv1 ... conv5


def stages(prefix: str, *, width: float, lrn_beta: float, is_stream: bool) -> list[Stage]:
    """Build the layers, as `Tower.stages`. A stream has no last pool (section 3.2)."""

    def conv(number: int, size: int, stride: int = 1, padding: str = "same") -> keras.layers.Layer:
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

    def norm(number: int) -> keras.layers.Layer:
        return LocalResponseNormalization(beta=lrn_beta, name=f"{prefix}norm{number}")

    def pool(number: int) -> keras.layers.Layer:
        return keras.layers.MaxPooling2D(2, padding="same", data_format=DATA_FORMAT, name=f"{prefix}pool{number}")

    return [
        chain([conv(1, 11, stride=3, padding="valid"), norm(1), pool(1)]),
        chain([conv(2, 5), norm(2), pool(2)]),
        chain([conv(3, 3), conv(4, 3), conv(5, 3), *([] if is_stream else [pool(5)])]),
    ]


TOWER = Tower(
    stages,
    windowed=("conv1", "conv2", "conv3"),
    min_crop_size_px=11,  # conv1's filters are 11 pixels wide and VALID
    head="hidden",
    pixels="subtract_mean",
    scale=1.0,
    offset=-117.0,  # section 3.3: a constant is subtracted from raw pixels
    fitted=("conv1", "conv2", "conv3", "conv4", "conv5"),
    low_rank_convs=("conv2", "conv3", "conv4", "conv5"),  # conv1 has few filters and three channels: nothing to win
    # The square of a response needs more than 256 values, and a reciprocal square root in int8 is slow everywhere.
    float32_layers=("norm1", "norm2"),
)
