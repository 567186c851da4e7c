import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import average_precision_score, coverage_error

from deepvideo_tf.config import ClipSpec, ModelCard, ShardSpec
from deepvideo_tf.metrics.hit_at_k import (
    HitAtK,
    average_precision,
    hits_at_k,
    probabilities,
    weighted_average_precision,
)


def reference(is_true, scores, k):
    """Hit@k one example at a time: rank all classes, wrong ones first among equals."""
    hits = []
    for truth, row in zip(is_true, scores, strict=True):
        known = np.where(np.isnan(row), -np.inf, row)
        ranked = sorted(range(len(row)), key=lambda label: (-known[label], truth[label]))
        hits.append(any(truth[label] for label in ranked[:k]))
    return np.array(hits)


@st.composite
def cases(draw):
    shape = (draw(st.integers(1, 5)), draw(st.integers(1, 6)))
    is_true = draw(hnp.arrays(bool, shape))
    scores = draw(hnp.arrays(np.float32, shape, elements=st.sampled_from([-1.0, 0.0, 0.25, 1.0, float("nan")])))
    return is_true, scores, draw(st.integers(1, shape[1]))


@given(cases())
def test_numpy_agrees_with_the_reference(case):
    np.testing.assert_array_equal(hits_at_k(*case), reference(*case))


@given(cases())
def test_hits_agree_with_scikit_learn(case):
    """Its coverage error is the rank of the lowest true label, the last of its equals; here of the best one alone."""
    is_true, scores, k = case
    hits = []
    for truth, row in zip(is_true, np.where(np.isnan(scores), -9, scores), strict=True):
        best = max(np.flatnonzero(truth), key=lambda label: row[label], default=None)
        kept = [label for label in range(len(row)) if not truth[label] or label == best]
        # One wrong class more, far below, since there must be two at least.
        ranked = [[*truth[kept], False]], [[*row[kept], -99]]
        hits.append(best is not None and coverage_error(*ranked) <= k)
    np.testing.assert_array_equal(hits_at_k(is_true, scores, k), hits)


@given(cases())
def test_keras_agrees_with_numpy(case):
    is_true, scores, k = case
    metric = HitAtK(k)
    metric.update_state(is_true / np.maximum(is_true.sum(-1, keepdims=True), 1), scores)
    assert float(metric.result()) == pytest.approx(hits_at_k(is_true, scores, k).mean(), abs=1e-6)


def test_a_model_that_answers_the_same_for_all_scores_nothing():
    assert not hits_at_k(np.eye(3, dtype=bool), np.ones((3, 3)), 1).any()
    assert hits_at_k(np.eye(3, dtype=bool), np.ones((3, 3)), 3).all()


def test_a_model_that_answers_no_numbers_scores_nothing():
    assert not hits_at_k(np.eye(3, dtype=bool), np.full((3, 3), np.nan), 1).any()


def test_it_accumulates_and_is_serialised():
    metric = HitAtK(2)
    assert metric.name == "hit_at_2"
    metric.update_state([[1.0, 0.0, 0.0]], [[3.0, 2.0, 1.0]])
    metric.update_state([[0.0, 0.0, 1.0]], [[3.0, 2.0, 1.0]])
    assert float(metric.result()) == 0.5
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(metric))
    assert (again.k, again.name) == (2, "hit_at_2")


@pytest.mark.parametrize("k", [0, -1, 1.5, "1"])
def test_bad_k(k):
    with pytest.raises(ValueError, match="k must be"):
        HitAtK(k)


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


@pytest.mark.parametrize(("loss", "expected"), [("softmax", [0.25, 0.75]), ("sigmoid", [0.5, 0.75])])
def test_probabilities_are_what_the_loss_makes_of_logits(loss, expected):
    card = ModelCard("single_frame", ("a", "b"), ClipSpec(), ShardSpec(), loss)
    np.testing.assert_allclose(probabilities(card, np.array([[0.0, np.log(3)]], np.float32)), [expected], rtol=1e-6)
