"""The loop over epochs and steps: it counts, sets the learning rate, saves, validates and can stop after any step."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import NoReturn

from deepvideo_tf.runs.checkpoints import save_checkpoint
from deepvideo_tf.runs.history import write_history
from deepvideo_tf.runs.state import Description, Progress
from deepvideo_tf.storage.paths import AnyPath
from deepvideo_tf.training.executors.base import Executor, MetricStates
from deepvideo_tf.training.hooks import StopRequest, check_finite, non_finite_error
from deepvideo_tf.training.optimization.schedule import after_epoch, learning_rate_at
from deepvideo_tf.training.sources.base import Source
from deepvideo_tf.training.tensorboard import TensorBoard

OnStep = Callable[[int, int], None]
OnEpoch = Callable[[int, dict[str, float]], None]


class TrainingLoop:
    """Trains what a source provides on an executor, from where the run is. It is the executor's `Steps`.

    Args:
        source: prepared.
        executor: prepared with the source.
        workdir: the run's folder.
        progress: how far the run is.
        metric_states: of the running metrics in the part of the epoch that is done, empty at its beginning.
        checkpoint_s: time between checkpoints within an epoch.
        on_step: called before the first and after each step with the clips seen so far and those of the whole run.
        on_epoch: called after each epoch with its number, from 1, and its metrics.
    """

    def __init__(
        self,
        source: Source,
        executor: Executor,
        workdir: AnyPath,
        progress: Progress,
        metric_states: MetricStates,
        *,
        checkpoint_s: float,
        on_step: OnStep | None,
        on_epoch: OnEpoch | None,
    ) -> None:
        self._source, self._executor, self._workdir = source, executor, workdir
        self._config, self._shards = source.config, source.shards
        self.progress, self.metric_states = progress, metric_states
        self._checkpoint_s, self._saved_at_s = checkpoint_s, 0.0
        self._writes = executor.share.process == 0
        self._on_step, self._on_epoch = on_step, on_epoch
        self._validation, self._stop = source.validation(), StopRequest()

    def run(self) -> None:
        """Train all epochs that are left.

        Raises:
            TrainingError: the loss is not finite.
            KeyboardInterrupt: the run was asked to stop, and is saved.
        """
        tensorboard = self._tensorboard() if self._writes else None
        with self._stop.at_signals():
            self._report_step()
            while self.progress.epoch < self._config.num_epochs:
                self._train_epoch(tensorboard)
        if tensorboard is not None:
            tensorboard.close()

    def _tensorboard(self) -> TensorBoard:
        tensorboard = TensorBoard(
            self._workdir / "tensorboard",
            self._shards.card,
            self._source.network,
            self._shards.folder,
            self._shards.splits[-1],
            self._shards.max_bad_fraction,
        )
        if self._source.predicts_clips and not self._executor.is_distributed:
            tensorboard.draw_pictures()
        return tensorboard

    def _train_epoch(self, tensorboard: TensorBoard | None) -> None:
        """Train what is left of an epoch, validate and save."""
        executor, epoch = self._executor, self.progress.epoch
        self._saved_at_s = time.monotonic()
        trained = executor.train_epoch(epoch, self.progress.step, self)
        self.metric_states = executor.metric_states()
        logs = {"learning_rate": self.learning_rate(self.progress.total_steps - 1), **trained}
        if self._validation is not None:
            logs |= {f"val_{name}": value for name, value in executor.evaluate(self._validation, self).items()}
        check_finite(logs, self.progress)
        self.progress, is_best = after_epoch(self.progress, self._config, logs)
        if tensorboard is not None:
            write_history(self._workdir, epoch, logs)
            tensorboard.write(epoch, logs)
        self.metric_states = []  # the next epoch begins with none, here and after an interruption
        self._save(is_best=is_best and self._validation is not None)
        if self._writes and self._on_epoch is not None:
            self._on_epoch(epoch + 1, logs)
        if executor.any_process(self._stop.is_set):
            self._leave()

    @property
    def total_steps(self) -> int:
        return self.progress.total_steps

    def learning_rate(self, total_steps: int) -> float:
        num_steps = self._source.steps_per_epoch * self._config.num_epochs
        return learning_rate_at(self._config, total_steps, num_steps, self.progress.lowered)

    def count(self, metrics: Mapping[str, float]) -> None:
        progress, loss = self.progress, metrics["loss"]
        if not math.isfinite(loss):
            names = self._source.record_names(progress.epoch, progress.step)
            raise non_finite_error(self._workdir, self._executor.share.process, progress, loss, names)
        self.progress = replace(progress, step=progress.step + 1, total_steps=progress.total_steps + 1)
        self._report_step()

    def after_step(self, collect: Callable[[], MetricStates]) -> None:
        stops = self._executor.any_process(self._stop.is_set)
        if stops or time.monotonic() - self._saved_at_s > self._checkpoint_s:
            self.metric_states = collect()
            self._save()
        if stops:
            self._leave()

    def after_validation_batch(self, restore: Callable[[], None]) -> None:
        if self._executor.any_process(self._stop.is_set):
            restore()
            self._save()
            self._leave()

    def _report_step(self) -> None:
        if self._writes and self._on_step is not None:
            records, size = self._shards.train.records, self._config.global_batch_size
            seen = self.progress.epoch * records + min(self.progress.step * size, records)
            self._on_step(seen, self._config.num_epochs * records)

    def _save(self, *, is_best: bool = False) -> None:
        if self._writes:
            description = Description(self._config, self._shards.card, self._shards.hash, self.progress)
            with (
                self._executor.alone()
            ):  # Keras makes an optimizer to see its attributes, which would take all processes
                save_checkpoint(self._workdir, self._source.network, self.metric_states, description, is_best=is_best)
        self._saved_at_s = time.monotonic()

    def _leave(self) -> NoReturn:
        raise KeyboardInterrupt(
            f"interrupted; saved in {self._workdir} after step {self.progress.total_steps}: the same command resumes "
            "from it"
        )
