import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import average_precision_score

from deepvideo_tf.metrics.average_precision import (
    average_precision,
    random_average_precision,
    weighted_average_precision,
)


@st.composite
def many_examples(draw):
    """Scores on a coarse grid, so that there are ties; a class may be without a positive."""
    shape = (draw(st.integers(1, 30)), draw(st.integers(1, 4)))
    is_true = draw(hnp.arrays(bool, shape))
    return is_true, draw(hnp.arrays(np.float64, shape, elements=st.sampled_from([0.0, 0.1, 0.25, 0.5, 1.0, np.nan])))


@given(many_examples())
def test_average_precision_agrees_with_scikit_learn(case):
    is_true, scores = case
    found = average_precision(is_true, scores)
    for label, value in enumerate(found):
        if is_true[:, label].any():
            known = np.where(np.isnan(scores[:, label]), -9, scores[:, label])
            assert value == pytest.approx(average_precision_score(is_true[:, label], known))
        else:
            assert np.isnan(value)


@given(many_examples(), st.integers(0, 99))
def test_weighted_average_precision_agrees_with_scikit_learn(case, seed):
    is_true, scores = case[0][:, 0], np.nan_to_num(case[1][:, 0], nan=-9)
    weights = np.random.default_rng(seed).integers(0, 3, (4, len(scores))).astype(np.uint16)
    for row, value in zip(weights, weighted_average_precision(is_true, scores, weights), strict=True):
        if (row * is_true).any():
            assert value == pytest.approx(average_precision_score(is_true, scores, sample_weight=row))
        else:
            assert np.isnan(value)


def test_average_precision_of_large_sets_with_many_ties():
    rng = np.random.default_rng(0)
    is_true, scores = rng.random((5000, 3)) < 0.1, rng.integers(0, 40, (5000, 3)) / 40
    expected = [average_precision_score(is_true[:, label], scores[:, label]) for label in range(3)]
    np.testing.assert_allclose(average_precision(is_true, scores), expected)


def test_random_average_precision_is_the_mean_over_all_orders():
    for positives in range(1, 6):
        truth = [1] * positives + [0] * (5 - positives)
        every = [average_precision_score(truth, order) for order in itertools.permutations(range(5))]
        assert random_average_precision(positives, 5) == pytest.approx(np.mean(every))
    assert math.isnan(random_average_precision(0, 5))
