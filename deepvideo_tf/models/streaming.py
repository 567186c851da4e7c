"""Slow fusion over a video whose frames come one by one: what neighbouring clips have in common is computed once.

A slow-fusion net answers for windows of time inside its clip (section 3.1). When the next clip starts a few frames
later, most of its windows have been answered before:

    clip at frame 0:   conv1 at 0 2 4 6       conv2 at 0 4     conv3 at 0
    clip at frame 2:   conv1 at   2 4 6 8     conv2 at   2 6   conv3 at   2
    clip at frame 4:   conv1 at     4 6 8 10  conv2 at     4 8 conv3 at     4

So each clip but the first ones costs one response of conv1 and one of conv2 instead of four and two.
"""

from dataclasses import dataclass

import keras
import numpy as np

from deepvideo_tf.config import STREAMS, check_int
from deepvideo_tf.errors import ConfigError
from deepvideo_tf.models.description import describe

# The layers after each window of time, as `models.tower` names them.
STAGES = (("conv1", "norm1", "pool1"), ("conv2", "norm2", "pool2"), ("conv3", "conv4", "conv5", "pool5"))
HEAD = ("ends", "flatten", "fc6", "dropout6", "fc7", "dropout7", "logits")


@dataclass(frozen=True)
class _Stage:
    """A part of the net that answers for one moment.

    Args:
        program: `keras.Model` from the answers of the stage before, for `size` moments and each stream, in this order.
        size: moments that it joins.
        apart_frames: frames from one of them to the next.
        multiply_adds: of one answer.
    """

    program: keras.Model
    size: int
    apart_frames: int
    multiply_adds: int


class SlowFusionStream:
    """Classifies a video while it comes in, with the weights of a slow-fusion net (section 3.1).

    Every `hop_frames` frames a clip is complete and gets the logits that the net would give for it.

    Args:
        model: from `slow_fusion`, or from `multires` with that fusion. Its weights are used, not copied.
        hop_frames: frames from the start of one clip to the next. Clips that start 2, 4 or 6 frames apart share
            responses of conv1, and those that start 4 apart share one of conv2.

    Attributes:
        multiply_adds: what the frames since the last `reset` have cost, counted as by `describe`.

    Raises:
        ConfigError: (a ValueError) another kind of model, or a hop that is no whole number above 0.
    """

    def __init__(self, model, *, hop_frames=2):
        check_int("hop_frames", hop_frames, 1)
        self._hop_frames = hop_frames
        _, self._clip_frames, *self._frame_shape = model.input_shape
        self._stages = _split(model)
        self.reset()

    def reset(self):
        """Forgets all frames: the next one is the first of a new video. To be called when the weights change, too."""
        self._num_frames = 0
        self._answers = {}  # (stage, first frame) -> arrays [1, height, width, channel], one for each stream; 0: frames
        self.multiply_adds = 0

    def push(self, frame):
        """Takes the next frame.

        Args:
            frame: uint8 `[height, width, 3]`, raw pixels, of the model's size.

        Returns:
            Logits, float32 `[num_classes]`, of the clip that ends with this frame; None if none does.

        Raises:
            ConfigError: (a ValueError) the frame has another shape or type.
        """
        frame = np.asarray(frame)
        if list(frame.shape) != self._frame_shape or frame.dtype != np.uint8:
            raise ConfigError(f"frame must be uint8 {self._frame_shape}. Received: {frame.dtype} {list(frame.shape)}")
        if self._num_frames % self._hop_frames < self._clip_frames:  # else it falls between two clips
            self._answers[0, self._num_frames] = [frame[None].copy()]
        self._num_frames += 1
        start = self._num_frames - self._clip_frames
        if start < 0 or start % self._hop_frames:
            return None
        (logits,) = self._answer(len(self._stages), start)
        next_start = start + self._hop_frames
        self._answers = {
            (stage, first): value for (stage, first), value in self._answers.items() if first >= next_start
        }
        return logits[0]

    def _answer(self, number, start):
        """What stage `number` answers for the moment that begins with frame `start`."""
        if (number, start) not in self._answers:
            stage = self._stages[number - 1]
            moments = [self._answer(number - 1, start + index * stage.apart_frames) for index in range(stage.size)]
            outputs = stage.program.predict_on_batch([column for columns in moments for column in columns])
            # Keras hands out a single output by itself.
            self._answers[number, start] = outputs if isinstance(outputs, list) else [outputs]
            self.multiply_adds += stage.multiply_adds
        return self._answers[number, start]


def _split(model):
    """The stages that lead from frames to logits, over the layers of the model."""
    layers = {layer.name: layer for layer in model.layers}
    prefixes = [f"{stream}_" for stream in STREAMS if f"{stream}_conv1" in layers] or [""]
    names = {"clip", "subtract_mean", "frames", *HEAD, *(prefix.rstrip("_") for prefix in prefixes)}
    for prefix in prefixes:
        names |= {f"{prefix}{name}" for stage in STAGES for name in stage}
        names |= {f"{prefix}conv{number}_windows" for number in (1, 2, 3)}
    # Not every one has a last pool, several ends, or views.
    if names - {"", "ends", "pool5", *(f"{prefix}pool5" for prefix in prefixes)} - set(layers) or set(layers) - names:
        raise ConfigError(f"model must be a slow-fusion net as built, up to its logits. Received: {model.name}")

    def chain(x, names):
        for name in names:
            x = layers[name](x) if name in layers else x
        return x

    stages = []
    columns = [keras.Input(model.input_shape[2:], dtype="uint8")]
    num_columns, apart_frames = model.input_shape[1], 1
    for number, names in enumerate(STAGES, start=1):
        windows = [layers[f"{prefix}conv{number}_windows"] for prefix in prefixes]
        size, stride = windows[0].size, windows[0].stride
        moments = _inputs(columns, size)
        by_stream = list(zip(*moments, strict=True))
        if number == 1:
            pixels = [layers["subtract_mean"](frame) for frame in by_stream[0]]
            by_stream = [[chain(frame, [prefix.rstrip("_")]) for frame in pixels] for prefix in prefixes]
        columns = []
        for prefix, join, of_stream in zip(prefixes, windows, by_stream, strict=True):
            (window,) = join(list(of_stream))
            columns.append(chain(window, [prefix + name for name in names]))
        stages.append(_stage(moments, columns, apart_frames))
        num_columns, apart_frames = (num_columns - size) // stride + 1, apart_frames * stride
    moments = _inputs(columns, num_columns)
    ends = [column for of_stream in zip(*moments, strict=True) for column in of_stream]
    logits = chain(ends if len(ends) > 1 else ends[0], HEAD)
    return [*stages, _stage(moments, [logits], apart_frames)]


def _inputs(columns, moments):
    """For each moment an input for each stream's column."""
    return [[keras.Input(column.shape[1:], dtype=column.dtype) for column in columns] for _ in range(moments)]


def _stage(moments, outputs, apart_frames):
    program = keras.Model([column for columns in moments for column in columns], outputs)
    return _Stage(program, len(moments), apart_frames, sum(layer.multiply_adds for layer in describe(program)))
