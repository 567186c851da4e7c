"""The same weights give the same answers under each of Keras's backends."""

import importlib.util
import os
import subprocess
import sys

import numpy as np
import pytest

from deepvideo_tf.config import MODEL_NAMES
from tests.support.repository import REPOSITORY

SCRIPT = REPOSITORY / "tests/support/backend_answers.py"


def answers_under(backend, folder):
    environment = os.environ | {"KERAS_BACKEND": backend, "JAX_PLATFORMS": "cpu", "PYTHONPATH": ""}
    result = subprocess.run(
        [sys.executable, SCRIPT, folder], env=environment, capture_output=True, text=True, check=False, timeout=500
    )
    assert result.returncode == 0, result.stderr
    return dict(np.load(folder / f"{backend}.npz"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("backends")


@pytest.fixture(scope="module")
def of_tensorflow(folder):
    return answers_under("tensorflow", folder)


def test_tensorflows_answers_are_worth_comparing(of_tensorflow):
    """They are of the order of 1, differ between clips, and change with training by more than the tolerance."""
    assert {name.split()[0] for name in of_tensorflow} == set(MODEL_NAMES)
    for name in MODEL_NAMES:
        before, after = of_tensorflow[f"{name} before"], of_tensorflow[f"{name} after"]
        assert np.abs(before).max() > 0.5
        assert np.ptp(before, axis=0).max() > 0.05
        assert np.abs(after - before).max() > 0.01


@pytest.mark.long
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_other_backends_give_the_same_logits(backend, folder, of_tensorflow):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed; `make test-backends` installs it")
    others = answers_under(backend, folder)
    assert set(others) == set(of_tensorflow)
    for name, expected in of_tensorflow.items():
        np.testing.assert_allclose(others[name], expected, atol=1e-3, err_msg=name)
