"""Runs that tests interrupt and compare."""

import contextlib
import itertools

import pytest

import deepvideo_tf as dv
from deepvideo_tf.runs import checkpoints
from deepvideo_tf.runs.checkpoints import NAME
from deepvideo_tf.storage.files import hash_of


def checkpoint_names(workdir):
    """Return the sorted names of a run's checkpoints, without the damaged ones.

    A name holds the hash of its file: equal names mean equal weights, optimizer states and all else, bit by bit.
    """
    names = sorted(path.name for path in (workdir / "checkpoints").iterdir())
    return [name for name in names if not name.startswith("damaged-")]


class Killed(BaseException):
    """Simulates a kill: nothing may catch it."""


def train_often_saved(config, shards_dir, workdir, **arguments):
    """Train with a checkpoint after every step."""
    return dv.train(config, shards_dir, workdir, checkpoint_minutes=0, **arguments)


def assert_same_run(workdir, expected):
    assert checkpoint_names(workdir) == checkpoint_names(expected)
    assert (workdir / "history.csv").read_text() == (expected / "history.csv").read_text()


def steps(workdir):
    """Checkpoints of the last steps, the newest first."""
    return sorted((workdir / "checkpoints").glob("step-*"), reverse=True)


def assert_same_end(workdir, expected):
    """The same, where the two were saved at different steps."""
    assert steps(workdir)[0].name == steps(expected)[0].name
    assert (workdir / "history.csv").read_text() == (expected / "history.csv").read_text()


@contextlib.contextmanager
def killed_at(owner, name, number, word=""):
    """Kills the run within at the n-th call of a function with such a word in its arguments."""
    original, calls = getattr(owner, name), itertools.count(1)

    def killing(*arguments, **named):
        if word in " ".join(map(str, arguments)) and next(calls) == number:
            raise Killed
        return original(*arguments, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, name, killing)
        with pytest.raises(Killed):
            yield


def assert_whole(workdir):
    """Every checkpoint that has a name is what its name says."""
    for path in (workdir / "checkpoints").glob("[bs]*"):  # the best and the last ones, not what is unfinished
        assert hash_of(path)[: checkpoints.HASH_DIGITS] == NAME.fullmatch(path.name)[3]
