"""The layers of the paper that Keras does not have, in `keras.ops` only, and what all layers share.

They run under every Keras backend, convert to built-in TFLite operators, and are registered, so that a saved model
loads with Keras's safe mode on, once this module is imported.
"""

from typing import Any

import keras
import numpy as np
from keras import ops

DATA_FORMAT = "channels_last"  # whatever Keras is set to: frames are joined along the last axis

# Differs from the paper, which does not state its initialization: AlexNet's N(0, 0.01) stays at chance for epochs on a
# small data set, and He's leaves the paper's learning rate too high for raw pixels; with Glorot's it trains at once.
HIDDEN_INITIALIZER = "glorot_uniform"


def scaled(count: int, width: float) -> int:
    """Return the number of filters or units at a scale, at least 1."""
    return max(1, round(count * width))


@keras.saving.register_keras_serializable(package="deepvideo_tf")
class LocalResponseNormalization(keras.layers.Layer):
    """Divide each response by a power of the energy of its neighboring channels.

    `y[c] = x[c] / (bias + alpha * sum(x[c - r] ** 2 ... x[c + r] ** 2)) ** beta`, with r the depth radius. Channels
    outside the tensor count as zero. The defaults are the paper's k = 2, n = 5, alpha = 1e-4, beta = 0.5 (section 3.1);
    alpha is not divided by n.

    The sum over channels is a 1 x 1 convolution with a banded matrix of ones: adding shifted copies costs a pass over
    the memory each, and TensorFlow's own kernel has no bfloat16 and is not part of `keras.ops`.

    Args:
        depth_radius: channels on each side that count, (n - 1) / 2.
        bias: k, above 0.
        alpha: weight of the energy, 0 or more.
        beta: the exponent. 0.5 needs a single reciprocal square root.
        **kwargs: arguments of every Keras layer, such as `name`.

    Raises:
        ValueError: an argument is outside its range.
    """

    def __init__(
        self, depth_radius: int = 2, bias: float = 2.0, alpha: float = 1e-4, beta: float = 0.5, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if not isinstance(depth_radius, int) or depth_radius < 0:
            raise ValueError(f"depth_radius must be a whole number, 0 or more. Received: {depth_radius!r}")
        if not bias > 0:
            raise ValueError(f"bias must be above 0. Received: {bias!r}")
        if not alpha >= 0:
            raise ValueError(f"alpha must be 0 or more. Received: {alpha!r}")
        if not beta > 0:
            raise ValueError(f"beta must be above 0. Received: {beta!r}")
        self.depth_radius = depth_radius
        self.bias = bias
        self.alpha = alpha
        self.beta = beta

    def call(self, inputs: Any) -> Any:
        """Normalize over the last axis.

        Args:
            inputs: float `[batch, height, width, channel]`.

        Returns:
            Same shape and dtype.
        """
        channel = np.arange(inputs.shape[-1])
        near = np.abs(channel[:, None] - channel[None, :]) <= self.depth_radius
        # float16 ends at 65504, which the square of an unnormalized response exceeds.
        sum_dtype = "float32" if self.compute_dtype == "float16" else self.compute_dtype
        energy = ops.conv(
            ops.square(ops.cast(inputs, sum_dtype)),
            ops.convert_to_tensor(near[None, None].astype("float32"), dtype=sum_dtype),
            data_format="channels_last",
        )
        scale = self.bias + self.alpha * energy
        divisor = ops.rsqrt(scale) if self.beta == 0.5 else ops.power(scale, -self.beta)
        return inputs * ops.cast(divisor, inputs.dtype)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "depth_radius": self.depth_radius,
            "bias": self.bias,
            "alpha": self.alpha,
            "beta": self.beta,
        }


@keras.saving.register_keras_serializable(package="deepvideo_tf")
class SplitFrames(keras.layers.Layer):
    """Split a clip into its frames: `[batch, time, height, width, channel]` to a list of `time` 4-D tensors."""

    def call(self, inputs: Any) -> list:
        return [inputs[:, index] for index in range(inputs.shape[1])]

    def compute_output_shape(self, input_shape: tuple) -> list[tuple]:
        return [(input_shape[0], *input_shape[2:])] * input_shape[1]


@keras.saving.register_keras_serializable(package="deepvideo_tf")
class TemporalWindows(keras.layers.Layer):
    """Join neighboring columns of time along their channels, VALID in time.

    A 2-D convolution of each window is a 3-D convolution whose filters reach `size` columns in time (section 3.1). The
    2-D one converts to TFLite's plain operators, can be quantized by its tools, and can be run for a single window.

    Args:
        size: columns that a window holds.
        stride: columns from the start of one window to the next.
        **kwargs: arguments of every Keras layer, such as `name`.

    Raises:
        ValueError: an argument is not an integer above 0.
    """

    def __init__(self, size: int, stride: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        for name, value in (("size", size), ("stride", stride)):
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} must be a whole number, 1 or more. Received: {value!r}")
        self.size = size
        self.stride = stride

    def call(self, inputs: list) -> list:
        """Join the columns.

        Args:
            inputs: list of columns, `[batch, height, width, channel]` each.

        Returns:
            List of `1 + (len(inputs) - size) // stride` windows, `[batch, height, width, size * channel]` each, the
            earliest column's channels first.

        Raises:
            ValueError: there are fewer columns than a window holds.
        """
        return [ops.concatenate(inputs[start : start + self.size], axis=-1) for start in self._starts(inputs)]

    def compute_output_shape(self, input_shape: list[tuple]) -> list[tuple]:
        *leading, channels = input_shape[0]
        return [(*leading, self.size * channels) for _ in self._starts(input_shape)]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "size": self.size, "stride": self.stride}

    def _starts(self, columns: list) -> range:
        if len(columns) < self.size:
            raise ValueError(f"inputs must be a list of {self.size} columns or more. Received: {len(columns)}")
        return range(0, len(columns) - self.size + 1, self.stride)
