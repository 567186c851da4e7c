"""The engine of this machine, and what is refused before any work; two Ray nodes are in tests/faults/test_ray.py."""

import contextlib
import threading
from dataclasses import dataclass

import pytest

from deepvideo_tf.errors import ConfigError
from deepvideo_tf.execution.engines import check_engine, run_tasks
from deepvideo_tf.execution.engines.work import Work


@dataclass(frozen=True)
class Task:
    number: int
    videos: tuple = ("a", "b")


class Worker:
    def __init__(self, settings):
        self.settings = settings
        self.killed = threading.Event()
        self.is_busy = False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def kill(self):
        self.killed.set()


def double(task, worker, on_video):
    assert not worker.is_busy
    worker.is_busy = True
    for _ in task.videos:
        on_video()
    worker.is_busy = False
    return worker.settings * task.number


@pytest.mark.parametrize("num_workers", [1, 3, None])
def test_each_task_is_done_once(num_workers):
    seen = []
    tasks = [Task(number) for number in range(20)]
    found = list(run_tasks(Work(double, tasks, Worker, 2, num_workers, on_video=lambda: seen.append(1))))
    assert sorted(found) == [(number, 2 * number) for number in range(20)]
    assert len(seen) == 40


def test_closing_it_kills_what_runs_and_starts_nothing_more():
    started = []

    def work(task, worker, on_video):
        started.append(task.number)
        if task.number > 0:
            assert worker.killed.wait(60)
            on_video()
        return task.number

    running = run_tasks(Work(work, [Task(number) for number in range(50)], Worker, None, num_workers=2))
    with contextlib.closing(running):
        assert next(running) == (0, 0)
    assert len(started) <= 4


def test_an_error_ends_it():
    def work(task, worker, on_video):
        if task.number == 3:
            raise ConfigError("three")
        return task.number

    with pytest.raises(ConfigError, match="three"):
        list(run_tasks(Work(work, [Task(number) for number in range(50)], Worker, None, num_workers=2)))


@pytest.mark.parametrize(
    ("engine", "ray_address", "words"),
    [("spark", None, "engine must be one of local, ray"), ("local", "auto", "ray_address goes with engine=ray only")],
)
def test_what_there_is_not_is_refused(engine, ray_address, words):
    with pytest.raises(ConfigError, match=words):
        check_engine(engine, ray_address)
