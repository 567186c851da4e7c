"""What tables and findings share: results over folds, and the titles of runs."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Evaluation = Mapping[str, Any]  # as `evaluate` returns it
Folds = Sequence[Mapping[str, Evaluation]]  # for each fold, evaluations by the name of the run
Interval = Sequence[float]

TITLES = {
    "feature_histograms": "feature histograms + neural net",
    "single_frame": "single-frame",
    "multires": "single-frame + multires",
    "fovea": "single-frame, fovea only",
    "context": "single-frame, context only",
    "early_fusion": "early fusion",
    "late_fusion": "late fusion",
    "slow_fusion": "slow fusion",
    "average": "CNN average",
    "top": "fine-tune top layer",
    "top3": "fine-tune top 3 layers",
    "all": "fine-tune all layers",
    "scratch": "train from scratch",
}
HITS = ("clip_hit_at_1", "video_hit_at_1", "video_hit_at_5")


def over_folds(
    folds: Folds, name: str, read: Callable[[Evaluation], tuple[float | None, Interval | None]]
) -> tuple[Any, Any]:
    """Average a number over the folds; their test videos differ, so errors are independent and add in quadrature.

    Args:
        folds: for each fold, evaluations by the name of the run.
        name: of the run.
        read: from an evaluation to the number and its interval.

    Returns:
        (value, interval); None if a fold has none.
    """
    values, intervals = zip(*(read(fold[name]) for fold in folds), strict=True)
    if any(value is None for value in values):
        return None, None
    value = sum(values) / len(values)
    if any(interval is None for interval in intervals):
        return value, None
    below, above = (
        math.sqrt(sum((number - interval[end]) ** 2 for number, interval in zip(values, intervals, strict=True)))
        for end in (0, 1)
    )
    return value, [value - below / len(values), value + above / len(values)]


def result(folds: Folds, run: str, name: str = "video_hit_at_1") -> tuple[Any, Any]:
    """Return a result of a run over the folds, and its interval, by its name in the evaluation."""
    return over_folds(folds, run, lambda evaluation: (evaluation[name], evaluation["intervals"][name]))


def cell(value: float | None, interval: Interval | None = None, papers: float | None = None, **kind: bool) -> dict:
    """Return a cell of a table: a value, its interval, the paper's value, and how it is formatted (`is_rate`, ...)."""
    return {"value": value, "interval": interval, "paper": papers, **kind}


def has_transfer(folds: Folds) -> bool:
    """Return whether a trained network was fine-tuned."""
    return "transfer_top" in folds[0]


def transfer_run(folds: Folds, mode: str) -> str:
    """Return the run of a transfer mode: from scratch it may be Table 1's slow fusion."""
    return f"transfer_{mode}" if f"transfer_{mode}" in folds[0] else "slow_fusion"
