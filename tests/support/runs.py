"""Training runs that tests interrupt and compare."""

import deepvideo_tf as dv


def checkpoint_names(workdir):
    """They hold the hashes of the files: equal names are equal weights, optimiser states and all else, bit by bit."""
    names = sorted(path.name for path in (workdir / "checkpoints").iterdir())
    return [name for name in names if not name.startswith("damaged-")]


class Killed(BaseException):
    """Stands for a kill: nothing may catch it."""


def train_often_saved(config, shards_dir, workdir, **arguments):
    """Trains with a checkpoint after every step."""
    return dv.train(config, shards_dir, workdir, checkpoint_minutes=0, **arguments)
