"""Slow fusion over a video whose frames arrive one by one: what neighboring clips share is computed once.

A slow-fusion network responds to windows of time inside its clip (section 3.1). When the next clip starts a few frames
later, the responses for most of its windows are known:

    clip at frame 0:   stage 1 at 0 2 4 6       stage 2 at 0 4     stage 3 at 0
    clip at frame 2:   stage 1 at   2 4 6 8     stage 2 at   2 6   stage 3 at   2
    clip at frame 4:   stage 1 at     4 6 8 10  stage 2 at     4 8 stage 3 at     4

So each clip but the first ones costs one response of stage 1 and one of stage 2 instead of four and two.
"""

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from deepvideo_tf.config import check_int
from deepvideo_tf.errors import ConfigError
from deepvideo_tf.models.description import describe
from deepvideo_tf.models.heads import ENDS
from deepvideo_tf.models.layers import TemporalWindows
from deepvideo_tf.models.registry import info_of


@dataclass(frozen=True)
class _Stage:
    """A part of the network that computes the responses for one moment.

    Args:
        program: `keras.Model` from the responses of the stage before, `size` moments joined along their channels; one
            input for each stream.
        size: moments that it joins.
        apart_frames: frames from one of them to the next.
        multiply_adds: of one response.
    """

    program: keras.Model
    size: int
    apart_frames: int
    multiply_adds: int


class SlowFusionStream:
    """Classify a video while it arrives, with the weights of a slow-fusion network (section 3.1).

    Every `hop_frames` frames a clip is complete and gets the logits that the network would output for it.

    Args:
        model: from `slow_fusion`, or from `multires` with that fusion. Its weights are used, not copied.
        hop_frames: frames from the start of one clip to the next. Clips that start 2, 4 or 6 frames apart share
            responses of the first stage, and those that start 4 apart share one of the second.

    Attributes:
        multiply_adds: cost of the frames since the last `reset`, counted as by `describe`.
        num_kept: responses that are kept for the next clips.

    Raises:
        ConfigError: (a ValueError) another kind of model, or a hop that is not an integer above 0.
    """

    multiply_adds: int

    def __init__(self, model: keras.Model, *, hop_frames: int = 2) -> None:
        check_int("hop_frames", hop_frames, 1)
        self._hop_frames = hop_frames
        self._stages = _split(model)
        info = info_of(model)
        self._normalize = model.get_layer(info.pixels)
        self._views = [model.get_layer(layer) for layer in info.views.values()]
        _, self._clip_frames, *self._frame_shape = model.input_shape
        self.reset()

    @property
    def num_kept(self) -> int:
        return len(self._responses)

    def reset(self) -> None:
        """Forget all frames: the next one is the first of a new video. Call this after the weights change, too."""
        self._num_frames = 0
        # (stage, first frame) -> arrays [1, height, width, channel], one per stream; stage 0: their views of a frame
        self._responses: dict[tuple[int, int], list[np.ndarray]] = {}
        self.multiply_adds = 0

    def push(self, frame: np.ndarray) -> np.ndarray | None:
        """Add the next frame.

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
        if self._num_frames % self._hop_frames < self._clip_frames:  # otherwise it falls between two clips
            pixels = self._normalize(frame[None])
            views = [view(pixels) for view in self._views] or [pixels]
            self._responses[0, self._num_frames] = [keras.ops.convert_to_numpy(view) for view in views]
        self._num_frames += 1
        start = self._num_frames - self._clip_frames
        if start < 0 or start % self._hop_frames:
            return None
        (logits,) = self._response(len(self._stages), start)
        next_start = start + self._hop_frames
        self._responses = {key: value for key, value in self._responses.items() if key[1] >= next_start}
        return logits[0]

    def _response(self, number: int, start: int) -> list[np.ndarray]:
        """Return the response of stage `number` for the moment that begins with frame `start`."""
        if (number, start) not in self._responses:
            stage = self._stages[number - 1]
            moments = [self._response(number - 1, start + index * stage.apart_frames) for index in range(stage.size)]
            joined = [np.concatenate(of_stream, axis=-1) for of_stream in zip(*moments, strict=True)]
            if number == len(self._stages):  # the head: it joins the streams, too
                joined = [np.concatenate(joined, axis=-1)]
            outputs = stage.program.predict_on_batch(joined)
            # Keras returns a single output by itself.
            self._responses[number, start] = outputs if isinstance(outputs, list) else [outputs]
            self.multiply_adds += stage.multiply_adds
        return self._responses[number, start]


def _split(model: keras.Model) -> list[_Stage]:
    """Cut the model's graph before each of its windows and before its head."""
    info = info_of(model)
    layers = {layer.name: layer for layer in model.layers}
    windows: list[list[Any]] = [[layers.get(f"{conv}_windows") for conv in convs] for convs in info.windowed]
    head = layers.get(info.head)
    is_whole = head is not None and model.output is head.output
    if not is_whole or not windows or not all(isinstance(join, TemporalWindows) for joins in windows for join in joins):
        raise ConfigError(f"model must be a slow-fusion net as built, up to its logits. Received: {model.name}")
    vector = layers[info.vector].input
    ends = layers[ENDS].input if ENDS in layers else [vector]
    per_stream = len(ends) // len(windows[0])
    # The first column that each stage gives in each stream.
    firsts = [[_first(join.input) for join in joins] for joins in windows[1:]] + [ends[::per_stream]]
    stages = []
    apart_frames = 1
    for joins, outputs in zip(windows, firsts, strict=True):
        stages.append(_stage([_first(join.output) for join in joins], outputs, joins[0].size, apart_frames))
        apart_frames *= joins[0].stride
    return [*stages, _stage([vector], [model.output], per_stream, apart_frames)]


def _first(tensors: list | keras.KerasTensor) -> keras.KerasTensor:
    return tensors[0] if isinstance(tensors, list) else tensors  # Keras unpacks a list of one


def _stage(inputs: list, outputs: list, size: int, apart_frames: int) -> _Stage:
    program = keras.Model(inputs, outputs)
    return _Stage(program, size, apart_frames, sum(layer.multiply_adds for layer in describe(program)))
