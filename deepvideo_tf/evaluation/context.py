"""What evaluators compute from."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from deepvideo_tf.evaluation.averages import average_scores
from deepvideo_tf.evaluation.scores import FORWARD, Scores
from deepvideo_tf.evaluation.video_sums import VideoSums, video_sums
from deepvideo_tf.metrics.average_precision import average_precision
from deepvideo_tf.metrics.bootstrap import resampled_average_precision
from deepvideo_tf.storage.paths import PathLike

Results = Iterator[tuple[str, Any]]  # what an evaluator yields


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The scores of one evaluation, and what several evaluators need of them, computed once.

    Args:
        scored: by the folder of each run, its scores by time order; all runs are averaged.
        ks: the k of the videos' Hit@k.
        groups: lists of class names by the name of their group.
        against: folder and scores of the run to compare with; None for no comparison.
        motion: whether to evaluate the other time orders.
    """

    scored: Mapping[PathLike, Mapping[str, Scores]]
    ks: Sequence[int] = (1,)
    groups: Mapping[str, Sequence[str]] = field(default_factory=dict)
    against: tuple[PathLike, Scores] | None = None
    motion: bool = False

    def average(self, time_order: str) -> Scores:
        """Return the mean over all runs; a run of a single frame has one time order only."""
        members = {run: of_run.get(time_order, of_run[FORWARD]) for run, of_run in self.scored.items()}
        return average_scores(members, folder=next(iter(members)))

    @cached_property
    def scores(self) -> Scores:
        """The scores with the frames in their own order."""
        return self.average(FORWARD)

    @cached_property
    def sums(self) -> VideoSums:
        """Sums of every measure over each video."""
        return video_sums(self.scores, self.ks)

    @cached_property
    def ap(self) -> np.ndarray:
        """Average precision, float64 `[class]`; NaN where a class has no video."""
        return average_precision(self.scores.is_true, self.scores.video_scores)

    @cached_property
    def resampled_ap(self) -> np.ndarray:
        """Average precision in each resample of the videos, float64 `[resample, class]`."""
        return resampled_average_precision(self.scores.is_true, self.scores.video_scores)


def number_or_none(value: float) -> float | None:
    """Return a number as JSON has it: None for NaN."""
    return None if math.isnan(value) else float(value)


def known_mean(values: Iterable[float]) -> float | None:
    """Return the mean of the values that are not NaN; None if all are."""
    known = [float(value) for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else None
