"""What an executor is: where the steps of training are computed."""

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, Protocol

import keras
import numpy as np

from deepvideo_tf.config import TrainConfig
from deepvideo_tf.training.sources.base import Source

Metrics = dict[str, float]
MetricStates = list[np.ndarray]  # of all running metrics of a compiled model, in their order


class Share(NamedTuple):
    """Which part of the work this process does, of those that train together."""

    process: int = 0
    num_processes: int = 1


class Steps(Protocol):
    """The loop, as an executor sees it while it trains an epoch or validates.

    `total_steps` counts the steps done since the run began. `metric_states` are those of the part of the epoch that is
    done, empty at its beginning.
    """

    @property
    def total_steps(self) -> int: ...

    @property
    def metric_states(self) -> MetricStates: ...

    def learning_rate(self, total_steps: int) -> float:
        """Return the rate of the step that follows `total_steps` others."""

    def count(self, metrics: Mapping[str, float]) -> None:
        """Count a step. Raise TrainingError if its loss is not finite."""

    def after_step(self, collect: Callable[[], MetricStates]) -> None:
        """Save if it is time to, with the states that `collect` returns. Raise KeyboardInterrupt if asked to stop."""

    def after_validation_batch(self, restore: Callable[[], None]) -> None:
        """If asked to stop, call `restore`, save, and raise KeyboardInterrupt."""


class Executor(Protocol):
    """Where steps are computed.

    A new executor inherits from `local.LocalExecutor` what it does not change.
    """

    share: Share
    num_devices: int  # between which this process's part of a batch is divided
    is_distributed: bool  # whether the model predicts only if all processes call it

    def check(self, config: TrainConfig, source: type[Source]) -> None:
        """Raise ConfigError unless this executor can train what the source provides."""

    def start(self) -> bool:
        """Connect to other machines. Return False if this process has served others and is done."""

    def prepare(self, source: Source) -> None:
        """Take a source whose weights are loaded and whose model is compiled."""

    def train_epoch(self, epoch: int, first_step: int, steps: Steps) -> Metrics:
        """Train what is left of an epoch. Return its running metrics."""

    def evaluate(self, batches: Iterable[Any], steps: Steps) -> Metrics:
        """Return the metrics over validation batches."""

    def metric_states(self) -> MetricStates:
        """Return the states of the running metrics."""

    def any_process(self, flag: bool) -> bool:
        """Return whether the flag is set in any process. All processes must call it."""

    def pull_weights(self) -> None:
        """Copy weights and optimizer state into the source's model."""

    def agree(self, text: str) -> str:
        """Return the first process's text. All processes must call it."""

    def alone(self) -> AbstractContextManager[None]:
        """Return a context in which this process computes and builds for itself."""

    def initialize(self, model: keras.Model, function: Callable[[keras.Model], None]) -> None:
        """Let the first process change a model's weights with `function`, in all processes."""

    def leave(self) -> None:
        """Part from the other processes once all have come here."""
