"""What watches over a run while it trains: signals, and losses that are not finite."""

import contextlib
import json
import math
import signal
import threading
from collections.abc import Iterator
from typing import Any

from deepvideo_tf.errors import TrainingError
from deepvideo_tf.runs.checkpoints import has_checkpoints
from deepvideo_tf.runs.state import Progress
from deepvideo_tf.storage.paths import AnyPath
from deepvideo_tf.storage.writes import write_text_atomically

NAMED_RECORDS = 3  # of a batch whose loss is not finite, in the message; a file has all of them
NON_FINITE_NAME = "non-finite-batch.json"


class StopRequest:
    """Whether the run was asked to stop."""

    def __init__(self) -> None:
        self.is_set = False

    @contextlib.contextmanager
    def at_signals(self) -> Iterator[None]:
        """Let the first SIGINT or SIGTERM end the run after the step that it is in; a second one ends it at once."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def stop(*_: Any) -> None:
            if self.is_set:
                raise KeyboardInterrupt
            self.is_set = True

        before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def check_finite(logs: dict[str, float], progress: Progress) -> None:
    """Raise TrainingError unless all numbers of an epoch are finite."""
    bad = [f"{name}={value}" for name, value in logs.items() if not math.isfinite(value)]
    if bad:
        raise TrainingError(f"{', '.join(bad)} after step {progress.total_steps}: try a lower learning_rate")


def non_finite_error(
    workdir: AnyPath, process: int, progress: Progress, loss: float, names: list[str]
) -> TrainingError:
    """Return the error for a step whose loss is not finite; a file in the run's folder gets the names of all clips.

    Args:
        workdir: the run's folder.
        process: index of this process.
        progress: before the step.
        loss: of the step.
        names: of the batch's clips.

    Returns:
        The error, to be raised.
    """
    data = {"step": progress.total_steps + 1, "epoch": progress.epoch, "loss": str(loss), "clips": names}
    path = workdir / (f"{process}-{NON_FINITE_NAME}" if process else NON_FINITE_NAME)
    kept = "the last checkpoint is kept" if has_checkpoints(workdir) else "there is no checkpoint yet"
    write_text_atomically(path, json.dumps(data, indent=1, ensure_ascii=False) + "\n")
    shown = ", ".join(names[:NAMED_RECORDS]) + (", ..." if len(names) > NAMED_RECORDS else "")
    return TrainingError(
        f"the loss is {loss} at step {progress.total_steps + 1}: try a lower learning_rate, or look at the "
        f"{len(names)} clips of its batch, which {path} names ({shown}); {kept}"
    )
