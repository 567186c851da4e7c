"""Runs that tests interrupt and compare."""

import deepvideo_tf as dv


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
