from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from deepvideo_tf.config import TrainConfig
from deepvideo_tf.runs.state import Progress
from deepvideo_tf.training.optimization.losses import loss_of
from deepvideo_tf.training.optimization.optimizers import compile_model
from deepvideo_tf.training.optimization.schedule import after_epoch, learning_rate_at
from deepvideo_tf.training.sources import base

LOGITS = np.array([[2.0, -1.0, 0.5], [0.0, 30.0, -30.0]], np.float32)
TARGETS = np.array([[0.5, 0.5, 0.0], [0.0, 0.0, 1.0]], np.float32)  # the first clip has two labels


def log_softmax(logits):
    below_highest = logits - logits.max(axis=1, keepdims=True)
    return below_highest - np.log(np.exp(below_highest).sum(axis=1, keepdims=True))


def test_the_papers_numbers():
    """Section 3.3: SGD, batches of 32, momentum 0.9, weight decay 0.0005, a rate of 1e-3 that is lowered in time."""
    config = TrainConfig()
    assert (config.optimizer, config.schedule, config.loss, config.momentum) == ("sgd", "plateau", "softmax", 0.9)
    assert (config.label_smoothing, config.warmup_steps, config.max_gradient_norm) == (0, 0, 0)
    assert (config.class_weights, config.dtype_policy) == ("none", "float32")
    model = small_model()
    compile_model(model, config)
    assert type(model.optimizer) is keras.optimizers.SGD
    assert float(model.optimizer.learning_rate) == pytest.approx(1e-3)
    assert (model.optimizer.momentum, model.optimizer.nesterov) == (0.9, False)
    assert model.optimizer.weight_decay == 5e-4
    assert [model.optimizer.clipnorm, model.optimizer.global_clipnorm, model.optimizer.clipvalue] == [None] * 3


class TestLearningRate:
    def test_plateau_divides_by_ten(self):
        config = TrainConfig(learning_rate=0.5)
        rates = [learning_rate_at(config, step=7, num_steps=10, lowered=lowered) for lowered in range(4)]
        assert rates == pytest.approx([0.5, 0.05, 0.005, 0.0005])

    def test_constant(self):
        config = TrainConfig(learning_rate=0.5, schedule="constant")
        assert {learning_rate_at(config, step, 10, lowered=step) for step in range(10)} == {0.5}

    def test_cosine(self):
        config = TrainConfig(learning_rate=0.5, schedule="cosine")
        rates = [learning_rate_at(config, step, 6, lowered=3) for step in range(6)]
        assert rates == pytest.approx([0.5, 0.46650635, 0.375, 0.25, 0.125, 0.03349365])

    @pytest.mark.parametrize(
        ("schedule", "expected"),
        [
            ("plateau", [0.0125, 0.025, 0.0375, 0.05, 0.05, 0.05]),  # lowered once
            ("constant", [0.125, 0.25, 0.375, 0.5, 0.5, 0.5]),
            ("cosine", [0.125, 0.23325318, 0.28125, 0.25, 0.125, 0.03349365]),
        ],
    )
    def test_warm_up_rises_to_each_schedule(self, schedule, expected):
        config = TrainConfig(learning_rate=0.5, schedule=schedule, warmup_steps=4)
        assert [learning_rate_at(config, step, 6, lowered=1) for step in range(6)] == pytest.approx(expected)


class TestAfterEpoch:
    @staticmethod
    def follow(config, *epochs):
        """Progress after epochs of (Hit@1, loss) by validation, and which of them were the best so far."""
        progress, best = Progress(), []
        for hit, loss in epochs:
            logs = {"loss": 9.0, "hit_at_1": 0.0, "val_hit_at_1": hit, "val_loss": loss}
            progress, is_best = after_epoch(progress, config, logs)
            best.append(is_best)
        return progress, best

    def test_of_equal_hits_the_lower_loss_is_the_best(self):
        _, best = self.follow(TrainConfig(), (0.5, 2.0), (0.5, 2.0), (0.5, 1.9), (0.4, 0.1), (0.6, 5.0))
        assert best == [True, False, True, False, True]

    def test_the_rate_is_lowered_after_epochs_without_improvement(self):
        config = TrainConfig(plateau_epochs=2)
        worse = (0.1, 1.0)
        assert self.follow(config, (0.5, 1.0), worse)[0].lowered == 0
        assert self.follow(config, (0.5, 1.0), worse, worse)[0].lowered == 1
        assert self.follow(config, (0.5, 1.0), worse, worse, worse)[0].lowered == 1  # the count begins anew
        assert self.follow(config, (0.5, 1.0), worse, worse, worse, worse)[0].lowered == 2

    def test_an_improvement_begins_the_count_anew(self):
        config = TrainConfig(plateau_epochs=2)
        progress, _ = self.follow(config, (0.5, 1.0), (0.1, 1.0), (0.6, 1.0), (0.1, 1.0))
        assert (progress.lowered, progress.waited, progress.best) == (0, 1, (0.6, -1.0))

    def test_without_validation_the_training_loss_counts(self):
        progress, is_best = after_epoch(Progress(best=(0.0, -1.0)), TrainConfig(), {"loss": 0.9, "hit_at_1": 0.0})
        assert is_best
        assert not after_epoch(progress, TrainConfig(), {"loss": 0.95, "hit_at_1": 1.0})[1]

    def test_the_next_epoch_begins(self):
        done = Progress(epoch=3, step=7, total_steps=28, best=(1.0, 0.0), waited=1)
        progress, _ = after_epoch(done, TrainConfig(), {"loss": 1.0})
        assert (progress.epoch, progress.step, progress.total_steps, progress.waited) == (4, 0, 28, 2)


class TestLosses:
    @pytest.mark.parametrize("smoothing", [0.0, 0.3])
    def test_softmax_shares_the_target_out(self, smoothing):
        config = TrainConfig(label_smoothing=smoothing)
        smoothed = TARGETS * (1 - smoothing) + smoothing / 3
        expected = -(smoothed * log_softmax(LOGITS.astype(float))).sum(axis=1)
        assert float(loss_of(config)(TARGETS, LOGITS)) == pytest.approx(expected.mean(), rel=1e-5)
        weighted = float(loss_of(config)(TARGETS, LOGITS, sample_weight=np.array([0.5, 3.0])))
        assert weighted == pytest.approx((expected * [0.5, 3.0]).mean(), rel=1e-5)

    @pytest.mark.parametrize("smoothing", [0.0, 0.3])
    def test_sigmoid_sums_over_the_classes(self, smoothing):
        config = TrainConfig(loss="sigmoid", label_smoothing=smoothing)
        logits = np.clip(LOGITS, -10, 10)
        targets = (TARGETS > 0).astype(np.float32)
        smoothed, parts = targets * (1 - smoothing) + smoothing / 2, 1 / (1 + np.exp(-logits.astype(float)))
        expected = -(smoothed * np.log(parts) + (1 - smoothed) * np.log(1 - parts)).sum(axis=1)
        assert np.asarray(loss_of(config)(targets, logits)) == pytest.approx(expected, rel=1e-4)

    def test_large_logits_give_finite_losses(self):
        for loss in ("softmax", "sigmoid"):
            losses = loss_of(TrainConfig(loss=loss))(TARGETS, LOGITS * 1e4)
            assert np.isfinite(losses).all()


def small_model():
    """Features to logits, with the same weights each time."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((4,), name="features")
    return keras.Model(inputs, keras.layers.Dense(3, bias_initializer="ones", name="logits")(inputs))


FEATURES = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
CLASSES = np.eye(3, dtype=np.float32)[[0, 1, 2, 2, 1, 0]]
WEIGHTS = np.array([1, 1, 2, 0.5, 1, 0], np.float32)


def gradients(kernel, bias):
    """Of the weighted softmax cross-entropy, in NumPy."""
    parts = np.exp(log_softmax(FEATURES @ kernel + bias))
    of_logits = (parts - CLASSES) * WEIGHTS[:, None] / len(FEATURES)
    return [FEATURES.T @ of_logits, of_logits.sum(axis=0)]


def trained(config, steps):
    """The weights before and after some steps on one batch."""
    model = small_model()
    compile_model(model, config)
    before = [array.astype(float) for array in model.get_weights()]
    for _ in range(steps):
        model.train_on_batch(FEATURES, CLASSES, sample_weight=WEIGHTS)
    return before, model.get_weights()


class TestSteps:
    @pytest.mark.parametrize("momentum", [0.9, 0.5, 0])
    def test_sgd(self, momentum):
        config = TrainConfig(learning_rate=0.1, weight_decay=0.05, momentum=momentum)
        expected, after = trained(config, steps=3)
        speeds = [np.zeros_like(array) for array in expected]
        for _ in range(3):
            speeds = [momentum * speed - 0.1 * slope for speed, slope in zip(speeds, gradients(*expected), strict=True)]
            # The decay is decoupled: it does not enter the momentum.
            expected = [array * (1 - 0.1 * 0.05) + speed for array, speed in zip(expected, speeds, strict=True)]
        for found, array in zip(after, expected, strict=True):
            np.testing.assert_allclose(found, array, rtol=1e-5, atol=1e-6)

    def test_adamw(self):
        config = TrainConfig(optimizer="adamw", learning_rate=0.01, weight_decay=0.05)
        before, after = trained(config, steps=1)
        for found, array, slope in zip(after, before, gradients(*before), strict=True):
            expected = array * (1 - 0.01 * 0.05) - 0.01 * slope / (np.abs(slope) + 1e-7)
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)

    def test_gradients_are_scaled_down_together(self):
        config = TrainConfig(learning_rate=0.1, weight_decay=0.0, max_gradient_norm=0.01)
        before, after = trained(config, steps=1)
        moves = [found - array for found, array in zip(after, before, strict=True)]
        assert np.sqrt(sum((move**2).sum() for move in moves)) == pytest.approx(0.1 * 0.01, rel=1e-3)
        slopes = gradients(*before)
        norm = np.sqrt(sum((slope**2).sum() for slope in slopes))
        assert norm > 0.1
        for move, slope in zip(moves, slopes, strict=True):
            np.testing.assert_allclose(move, -0.1 * 0.01 * slope / norm, rtol=1e-2, atol=1e-6)

    def test_short_gradients_are_left_alone(self):
        config = TrainConfig(learning_rate=0.1)
        free, limited = trained(config, steps=2)[1], trained(replace(config, max_gradient_norm=1e3), steps=2)[1]
        for one, other in zip(free, limited, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-6)


class TestClassWeights:
    @staticmethod
    def weights(monkeypatch, mode, counts):
        monkeypatch.setattr(base, "clips_by_class", lambda *_, **__: np.array(counts))
        manifest = SimpleNamespace(classes=tuple("abcd"[: len(counts)]))
        return base.TrainingShards(Path(), TrainConfig(class_weights=mode), manifest, None, 0.01).class_weights

    def test_balanced_weights_are_1_on_average_over_the_clips(self, monkeypatch):
        weights = self.weights(monkeypatch, "balanced", [10, 30, 60])
        assert weights * [10, 30, 60] == pytest.approx([100 / 3] * 3)

    def test_an_absent_class_leaves_the_others_as_they_were(self, monkeypatch):
        weights = self.weights(monkeypatch, "balanced", [10, 0, 30, 60])
        assert weights == pytest.approx([100 / 30, 0, 100 / 90, 100 / 180])

    def test_none(self, monkeypatch):
        assert self.weights(monkeypatch, "none", [10, 0, 30, 60]).tolist() == [1, 1, 1, 1]
