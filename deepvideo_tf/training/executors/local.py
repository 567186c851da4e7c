"""Training by this process alone, through Keras's own `fit` and `evaluate`. Other executors build on it."""

import contextlib
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Any

import keras

from deepvideo_tf.config import TrainConfig
from deepvideo_tf.errors import ConfigError
from deepvideo_tf.runs.state import metric_states, set_metric_states
from deepvideo_tf.training.executors.base import Metrics, MetricStates, Share, Steps
from deepvideo_tf.training.sources.base import Source


class LocalExecutor:
    """Trains on what Keras takes by itself, one device."""

    share = Share()
    num_devices = 1
    is_distributed = False

    def check(self, config: TrainConfig, source: type[Source]) -> None:
        pass

    def start(self) -> bool:
        return True

    def prepare(self, source: Source) -> None:
        self._source = source
        self._model = source.model

    def train_epoch(self, epoch: int, first_step: int, steps: Steps) -> Metrics:
        if first_step < self._source.steps_per_epoch:
            self._train(epoch, first_step, steps)
        else:
            set_metric_states(self._model, steps.metric_states)
        return self._metrics()

    def _train(self, epoch: int, first_step: int, steps: Steps) -> None:
        self._model.fit(
            self._source.batches(epoch, first_step),
            initial_epoch=epoch,
            epochs=epoch + 1,
            steps_per_epoch=self._source.steps_per_epoch - first_step,
            shuffle=False,  # the dataset shuffles
            verbose=0,
            callbacks=[_EveryStep(steps)],
        )

    def evaluate(self, batches: Iterable[Any], steps: Steps) -> Metrics:
        self._model.evaluate(batches, verbose=0, callbacks=[_EveryValidationBatch(steps)])
        return self._metrics()

    def _metrics(self) -> Metrics:
        return {name: float(value) for name, value in self._model.get_metrics_result().items()}

    def metric_states(self) -> MetricStates:
        return metric_states(self._model)

    def any_process(self, flag: bool) -> bool:
        return flag

    def pull_weights(self) -> None:
        pass

    def agree(self, text: str) -> str:
        return text

    def alone(self) -> AbstractContextManager[None]:
        return contextlib.nullcontext()

    def initialize(self, model: keras.Model, function: Callable[[keras.Model], None]) -> None:
        function(model)

    def leave(self) -> None:
        pass


def check_clips(name: str, config: TrainConfig, source: type[Source]) -> None:
    """Raise ConfigError unless a source gives clips, as all executors but the local one need.

    Args:
        name: the argument that chose the executor, as `num_processes` or `strategy mirrored`.
        config: the run's.
        source: what is trained on.
    """
    if not source.reads_clips:
        raise ConfigError(
            f"{name} trains networks on clips, not on features that are computed first: train {config.model} without "
            f"it, or with finetune={config.finetune} give cached_views=0"
        )


class _EveryStep(keras.callbacks.Callback):
    """Sets the learning rate before each step and reports it to the loop after."""

    def __init__(self, steps: Steps) -> None:
        super().__init__()
        self._steps = steps

    def on_epoch_begin(self, epoch: int, logs: Metrics | None = None) -> None:
        if self._steps.metric_states:  # of the part of the epoch before an interruption
            set_metric_states(self.model, self._steps.metric_states)

    def on_train_batch_begin(self, batch: int, logs: Metrics | None = None) -> None:
        self.model.optimizer.learning_rate = self._steps.learning_rate(self._steps.total_steps)

    def on_train_batch_end(self, batch: int, logs: Metrics | None = None) -> None:
        self._steps.count(logs or {})
        # A callback's `model` has what JAX keeps elsewhere during `fit`.
        self._steps.after_step(lambda: metric_states(self.model))


class _EveryValidationBatch(keras.callbacks.Callback):
    """Lets the loop stop between two batches: the epoch's steps are done, its validation will be repeated."""

    def __init__(self, steps: Steps) -> None:
        super().__init__()
        self._steps = steps

    def on_test_batch_end(self, batch: int, logs: Metrics | None = None) -> None:
        self._steps.after_validation_batch(lambda: self.model.reset_metrics())  # brings back what JAX keeps elsewhere


def executor() -> LocalExecutor:
    """Return the executor of this process alone."""
    return LocalExecutor()
