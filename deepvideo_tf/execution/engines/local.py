"""The threads of this process."""

import contextlib
import os
import queue
import threading
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any

from deepvideo_tf.execution.engines.work import Work


def check() -> None:
    """Return: this engine needs nothing."""


def run(work: Work) -> Generator[tuple[int, Any], None, None]:
    """Do all tasks on threads, as `engines.run_tasks` describes; every node is this machine."""
    stop = threading.Event()

    def after_video() -> None:
        if stop.is_set():
            raise InterruptedError("the work was stopped")
        if work.on_video is not None:
            work.on_video()

    def result_of(task: Any) -> Any:
        worker = free.get()
        try:
            return work.function(task, worker, after_video)
        finally:
            free.put(worker)

    # A thread per worker: it waits for a decoder process, or is in TensorFlow, outside of Python's lock.
    free: queue.SimpleQueue = queue.SimpleQueue()
    num_workers = work.num_workers or os.cpu_count() or 1
    with contextlib.ExitStack() as stack, ThreadPoolExecutor(num_workers) as pool:
        workers = [stack.enter_context(work.new_worker(work.settings)) for _ in range(num_workers)]
        for worker in workers:
            free.put(worker)
        numbers = {pool.submit(result_of, task): number for number, task in enumerate(work.tasks)}
        try:
            for future in as_completed(numbers):
                yield numbers[future], future.result()
        except BaseException:  # also the caller's, which comes as GeneratorExit
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            for worker in workers:
                worker.kill()  # its thread must not wait for a video that nobody wants any more
            raise
