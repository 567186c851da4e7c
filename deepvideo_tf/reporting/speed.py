"""How fast models train and predict, with random clips, timed in turn."""

import statistics
import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from deepvideo_tf.config import multires_name
from deepvideo_tf.models.description import describe
from deepvideo_tf.models.precision import dtype_policy
from deepvideo_tf.models.registry import build_model, info_of
from deepvideo_tf.reporting.paper import SPEED_UP

SPORTS_1M_CLASSES = 487
SPEED_FUSIONS = tuple(SPEED_UP)
SPEED_BATCH_SIZE, SPEED_ROUNDS = 8, 5


class TimedModel:
    """A model that is ready to be timed, one training step and one predicted batch at a time.

    Args:
        name: one of `MODEL_NAMES`.
        batch_size: clips per step; 32 in the paper (section 3.3).
        num_classes: number of logits; 487 in Sports-1M.
        policy: Keras's precision policy.
        **model_arguments: of `build_model`; by default the paper's size.
    """

    def __init__(
        self,
        name: str,
        batch_size: int,
        *,
        num_classes: int = SPORTS_1M_CLASSES,
        policy: str = "float32",
        **model_arguments: Any,
    ) -> None:
        loss = keras.losses.SparseCategoricalCrossentropy(True)
        with dtype_policy(policy):
            self.model = build_model(name, num_classes, **model_arguments)
            self.model.compile(keras.optimizers.SGD(1e-4, momentum=0.9), loss)
        shape = (batch_size, *self.model.input_shape[1:])
        self.clips = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
        self.labels = np.arange(batch_size) % num_classes
        layers = describe(self.model)
        first_convs = info_of(self.model).first_convs.values()
        self.multiply_adds = sum(layer.multiply_adds for layer in layers)
        # Two operations per multiply-add; a training step takes twice as many more, for the gradients of weights and of
        # inputs, except for the pixels, which need none.
        self.answer_ops = 2 * self.multiply_adds
        self.train_ops = 3 * self.answer_ops - 2 * sum(x.multiply_adds for x in layers if x.name in first_convs)
        self.forget()

    def step(self) -> None:
        """Time one training step and one predicted batch."""
        self.train_s.append(seconds_of(lambda: self.model.train_on_batch(self.clips, self.labels)))
        self.answer_s.append(seconds_of(lambda: self.model.predict_on_batch(self.clips)))

    def forget(self) -> None:
        """Forget the times so far: the first ones include tracing and compiling."""
        self.train_s: list[float] = []
        self.answer_s: list[float] = []

    def clips_per_s(self) -> tuple[float, float]:
        """Return clips per second of training and of inference, medians over the steps."""
        return len(self.clips) / statistics.median(self.train_s), len(self.clips) / statistics.median(self.answer_s)


def seconds_of(work: Callable[[], object]) -> float:
    """Return the seconds that a function takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def measure_speed(on_round: Callable[[], None] | None = None) -> dict[str, Any]:
    """Measure what two resolutions gain, at the paper's size, compared to the full frame (section 3.2).

    Args:
        on_round: called after each round, for a progress bar.

    Returns:
        Dict, ready for JSON: by fusion, `full_frame` and `multires`, each with `training` and `inference` in clips/s;
        and `speed_up`, the median over the rounds of how many times as fast the two streams are, with its least and
        greatest, also for both.
    """
    measured: dict[str, dict[str, Any]] = {}
    for fusion in SPEED_FUSIONS:
        sides = {side: TimedModel(name, SPEED_BATCH_SIZE) for side, name in _sides(fusion).items()}
        for number in range(1 + SPEED_ROUNDS):
            for side in sides.values():
                side.step()
            if number == 0:
                for side in sides.values():
                    side.forget()
            if on_round is not None:
                on_round()
        measured[fusion] = {
            name: dict(zip(("training", "inference"), side.clips_per_s(), strict=True)) for name, side in sides.items()
        }
        full, two = sides["full_frame"], sides["multires"]
        measured[fusion]["speed_up"] = {
            "training": _ratio(full.train_s, two.train_s),
            "inference": _ratio(full.answer_s, two.answer_s),
        }
        del sides, full, two
        keras.backend.clear_session()
    return measured


def _sides(fusion: str) -> dict[str, str]:
    return {"full_frame": fusion, "multires": multires_name(fusion)}


def _ratio(slow_s: list[float], fast_s: list[float]) -> dict[str, float]:
    ratios = [slow / fast for slow, fast in zip(slow_s, fast_s, strict=True)]
    return {"median": statistics.median(ratios), "least": min(ratios), "greatest": max(ratios)}
