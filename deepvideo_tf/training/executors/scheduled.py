"""What executors share that train a second model on other devices and may have several steps under way."""

import abc
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from deepvideo_tf.config import TrainConfig
from deepvideo_tf.errors import ConfigError
from deepvideo_tf.runs.state import metric_states, set_metric_states
from deepvideo_tf.training.executors.base import MetricStates, Steps
from deepvideo_tf.training.executors.local import LocalExecutor, check_clips
from deepvideo_tf.training.executors.replica import Replica

StepResult = tuple[dict[str, float], int]  # sums over the clips of a batch, by metric, and the number of these clips


class ScheduledExecutor(LocalExecutor, abc.ABC):
    """Schedules batches on a `Replica`; the source's own model is what validation and checkpoints use."""

    name: str  # of the strategy
    _replica: Replica

    def check(self, config: TrainConfig, source: Any) -> None:
        check_clips(f"strategy {self.name}", config, source)
        if config.dtype_policy == "mixed_float16":
            raise ConfigError(
                f"strategy {self.name} takes dtype_policy float32 or mixed_bfloat16, not {config.dtype_policy}"
            )

    @abc.abstractmethod
    def batches(self, epoch: int, first_step: int) -> Iterable[Any]:
        """Return what is left of an epoch, as `schedule` takes it."""

    @abc.abstractmethod
    def schedule(self, batch: Any, epoch: int, step: int, rate: float) -> None:
        """Begin a step of an epoch."""

    @abc.abstractmethod
    def finished(self, *, all_of_them: bool = False) -> Iterator[StepResult]:
        """Yield the results of steps in their order; wait for all of them, or until only a few are under way."""

    def pull_weights(self) -> None:
        self._replica.pull()

    def _train(self, epoch: int, first_step: int, steps: Steps) -> None:
        states = steps.metric_states or [np.zeros_like(state) for state in metric_states(self._model)]

        def count(results: Iterable[StepResult]) -> None:
            nonlocal states
            for sums, clips in results:
                steps.count({name: total / clips for name, total in sums.items()})
                added = [part for total in sums.values() for part in (total, clips)]  # a Keras mean has two states
                states = [state + more for state, more in zip(states, added, strict=True)]

        def collect() -> MetricStates:
            count(self.finished(all_of_them=True))
            self.pull_weights()
            return states

        before = steps.total_steps
        for ahead, batch in enumerate(self.batches(epoch, first_step)):
            self.schedule(batch, epoch, first_step + ahead, steps.learning_rate(before + ahead))
            count(self.finished())
            steps.after_step(collect)
        set_metric_states(self._model, collect())
