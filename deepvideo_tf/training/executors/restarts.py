"""A process that keeps another one running: it starts it again when another process of the run was lost.

JAX cannot continue in a process whose peers are gone, so a process of a run is two: the one that the user started,
which uses this module, and its child, which trains.
"""

import contextlib
import logging
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from typing import NoReturn, Self

from deepvideo_tf.errors import TrainingError

logger = logging.getLogger(__name__)

CHILD = "DEEPVIDEO_TF_TRAINS"  # in the environment of the child
LOST_STATUS = 75  # a child's, when another process was lost: EX_TEMPFAIL
MAX_LOSSES = 20  # in a row, without a new checkpoint in between
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 15.0


def is_child() -> bool:
    """Return whether this process is the one that trains."""
    return CHILD in os.environ


def end_with_parent() -> None:
    """End this process when the one that started it is gone, however that ended."""

    def wait() -> None:
        while os.read(0, 1):
            pass
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=wait, daemon=True).start()


def leave_as_lost(message: str) -> NoReturn:
    """End this process since another one was lost, without waiting for the others."""
    logger.warning("%s", message)
    os._exit(LOST_STATUS)


def run_with_restarts(command: list[str], newest_checkpoint: Callable[[], str | None]) -> int:
    """Run a command, and again from the last checkpoint whenever it or another process of its run was lost.

    A first SIGINT or SIGTERM is passed on, and the command may save and leave; a second one kills it.

    Args:
        command: the program and its arguments.
        newest_checkpoint: returns the name of the run's newest checkpoint, or None.

    Returns:
        The exit status of the last one.

    Raises:
        TrainingError: it was lost again and again without a new checkpoint.
    """
    losses, before = 0, newest_checkpoint()
    with _Child() as child:
        while True:
            status = child.run(command)
            if child.is_asked_to_stop or not _is_loss(status):
                return status if status >= 0 else 128 - status
            newest = newest_checkpoint()
            losses, before = (losses + 1 if newest == before else 1), newest
            if losses > MAX_LOSSES:
                raise TrainingError(
                    f"lost a process of the run {losses} times without a new checkpoint; the same command goes on"
                )
            logger.warning("a process of this run was lost; going on from its last checkpoint, if there is one")
            child.pause(min(FIRST_PAUSE_S * 2 ** (losses - 1), LONGEST_PAUSE_S))


def _is_loss(status: int) -> bool:
    """JAX aborts a process whose peers are gone; the system kills one that takes too much memory."""
    return status == LOST_STATUS or (status < 0 and -status not in (signal.SIGINT, signal.SIGTERM))


class _Child:
    """One process at a time, to which signals are passed on."""

    def __init__(self) -> None:
        self.is_asked_to_stop = False
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self._handlers = {number: signal.signal(number, self._stop) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        if self._process is not None:
            self._process.kill()

    def run(self, command: list[str]) -> int:
        environment = os.environ | {CHILD: "1", "KERAS_BACKEND": "jax"}
        # A terminal's Ctrl-C reaches its whole group: in one of its own the child hears of it once.
        self._process = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, process_group=0)
        if self.is_asked_to_stop:
            self._process.terminate()
        return self._process.wait()

    def pause(self, seconds: float) -> None:
        end_s = time.monotonic() + seconds
        while not self.is_asked_to_stop and time.monotonic() < end_s:
            time.sleep(0.1)

    def _stop(self, *_: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            if self._process is not None:
                self._process.send_signal(signal.SIGKILL if self.is_asked_to_stop else signal.SIGTERM)
        self.is_asked_to_stop = True
