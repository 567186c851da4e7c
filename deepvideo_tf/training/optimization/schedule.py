"""The learning rate of each step, and what an epoch's validation means for the rest of the run."""

import math
from collections.abc import Mapping
from dataclasses import replace

from deepvideo_tf.config import TrainConfig
from deepvideo_tf.runs.state import Progress

PLATEAU_DIVISOR = 10  # the paper lowers the rate and does not say by how much; AlexNet divides it by 10


def learning_rate_at(config: TrainConfig, step: int, num_steps: int, lowered: int) -> float:
    """Return the learning rate of a step.

    Args:
        config: the run's.
        step: number of the step, from 0.
        num_steps: steps of the whole run.
        lowered: how many times the plateau schedule has lowered the rate.

    Returns:
        The rate, above 0.
    """
    rate = config.learning_rate
    if config.schedule == "plateau":
        rate /= PLATEAU_DIVISOR**lowered
    elif config.schedule == "cosine":
        rate *= (1 + math.cos(math.pi * step / num_steps)) / 2
    return rate * min(1.0, (step + 1) / config.warmup_steps) if config.warmup_steps else rate


def after_epoch(progress: Progress, config: TrainConfig, logs: Mapping[str, float]) -> tuple[Progress, bool]:
    """Return the progress at the beginning of the next epoch, and whether this epoch was the best.

    The epoch with the highest validation Hit@1 is the best, of equal ones that with the lowest validation loss. Without
    validation, it is the one with the lowest training loss.

    Args:
        progress: with all steps of the epoch done.
        config: the run's.
        logs: the epoch's `loss` and, if there is validation, `val_loss` and `val_hit_at_1`.

    Returns:
        The new progress; and whether the epoch was the best so far.
    """
    reached = (logs["val_hit_at_1"], -logs["val_loss"]) if "val_loss" in logs else (0.0, -logs["loss"])
    is_best = progress.best is None or reached > progress.best
    progress = replace(progress, epoch=progress.epoch + 1, step=0)
    if is_best:
        return replace(progress, best=reached, waited=0), True
    if progress.waited + 1 >= config.plateau_epochs:
        return replace(progress, lowered=progress.lowered + 1, waited=0), False
    return replace(progress, waited=progress.waited + 1), False
