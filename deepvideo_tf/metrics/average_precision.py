"""Average precision of each class (Table 2)."""

import math

import numpy as np


def average_precision(is_true: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Compute the average precision of each class: the mean precision at the scores of its positives (Table 2).

    Equal scores share one threshold, so the order of the examples does not matter. NaN is the lowest score.

    Args:
        is_true: bool `[example, class]`.
        scores: float `[example, class]`.

    Returns:
        float64 `[class]`; NaN where a class has no positive.
    """
    once = np.ones((1, len(is_true)), np.uint16)
    columns = zip(is_true.T, scores.T, strict=True)
    return np.array([weighted_average_precision(*column, once)[0] for column in columns])


def weighted_average_precision(is_true: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Compute the average precision of one class where each example counts several times, as in a bootstrap resample.

    Args:
        is_true: bool `[example]`.
        scores: float `[example]`.
        weights: how many times each example counts, int `[resample, example]`.

    Returns:
        float64 `[resample]`; NaN where no positive counts.
    """
    scores = np.where(np.isnan(scores), -np.inf, scores)
    order = np.argsort(-scores, kind="stable")
    falling = -scores[order]
    positives = np.flatnonzero(is_true[order])
    last_equal = np.searchsorted(falling, falling[positives], side="right") - 1
    # Assign each example to the first positive with no higher score; those below all positives come last.
    steps = np.empty(len(order), np.intp)
    steps[order] = np.searchsorted(last_equal, np.arange(len(order)))
    at_steps = np.stack([np.bincount(steps, row, len(positives) + 1)[:-1] for row in weights])
    of_positives = weights[:, order[positives]].astype(float)
    true_above = np.cumsum(of_positives, axis=1)[:, np.searchsorted(positives, last_equal, side="right") - 1]
    precision = true_above / np.maximum(np.cumsum(at_steps, axis=1), 1)
    with np.errstate(invalid="ignore"):
        return (of_positives * precision).sum(axis=1) / of_positives.sum(axis=1)


def random_average_precision(positives: int, examples: int) -> float:
    """Compute the expected average precision of a random order; in small sets it exceeds the fraction of positives.

    Above a positive at rank r there are (r - 1) * others more positives on average. A positive is equally often at
    each rank, so the result is the mean precision (1 + (r - 1) * others) / r over all ranks.

    Args:
        positives: the number of positives.
        examples: the number of examples.

    Returns:
        The expected average precision, in [0, 1]; NaN without a positive.
    """
    if not positives:
        return math.nan
    others = (positives - 1) / max(examples - 1, 1)
    return others + (1 - others) * float(np.mean(1 / np.arange(1, examples + 1)))
