"""A child that answers, dies, is late and is killed."""

import sys
import threading
from pathlib import Path

import pytest

from deepvideo_tf.execution.worker_process import WorkerDiedError, WorkerProcess, read_json, run_module, write_json

MODULE = """
import os, signal, sys, time
from deepvideo_tf.execution.worker_process import read_json, serve, write_json

def answer_all(requests, answers):
    while True:
        request = read_json(requests)
        if request == "die":
            sys.exit("noise\\nout of order")
        if request == "late":
            time.sleep(600)
        write_json(answers, [os.getpid(), request, os.environ.get("GREETING")])
        answers.flush()

if len(sys.argv) > 1:
    sys.exit("refused" if sys.argv[1] == "fail" else print("said", sys.argv[1]))
serve(answer_all)
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    """The name of a module for the child."""
    (tmp_path / "a_worker.py").write_text(MODULE)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{Path.cwd()}")
    return "a_worker"


def ask(worker, request, timeout_s=None):
    return worker.ask(lambda pipe: write_json(pipe, request), read_json, timeout_s)


def test_one_child_answers_all_requests(module):
    with WorkerProcess(module, environment={"GREETING": "hello"}) as worker:
        assert worker.pid is None
        answers = [ask(worker, {"number": number}) for number in range(3)]
        assert answers == [[worker.pid, {"number": number}, "hello"] for number in range(3)]


def test_it_is_greeted_each_time_it_starts(module):
    with WorkerProcess(module, greet=lambda pipe: write_json(pipe, "greeting")) as worker:
        for _ in range(2):
            assert ask(worker, "request")[1] == "greeting"
            worker.close()


def test_its_death_is_reported_and_another_one_started(module):
    with WorkerProcess(module) as worker:
        with pytest.raises(WorkerDiedError, match="^ended with status 1: out of order$") as caught:
            ask(worker, "die")
        assert (caught.value.status, caught.value.timed_out) == (1, False)
        assert ask(worker, "request")[1] == "request"


def test_it_is_killed_when_it_takes_too_long(module):
    with WorkerProcess(module) as worker:
        with pytest.raises(WorkerDiedError, match="^ended with status -9$") as caught:
            ask(worker, "late", timeout_s=0.5)
        assert caught.value.timed_out
        assert ask(worker, "request", timeout_s=60)[1] == "request"


def test_it_is_killed_from_another_thread(module):
    with WorkerProcess(module) as worker:
        ask(worker, "request")
        threading.Timer(0.2, worker.kill).start()
        with pytest.raises(WorkerDiedError, match="^ended with status -9$") as caught:
            ask(worker, "late")
        assert not caught.value.timed_out


def test_a_module_is_run_to_its_end(module):
    assert run_module(module, "this") == "said this\n"
    with pytest.raises(WorkerDiedError, match="^ended with status 1: refused$"):
        run_module(module, "fail")
    assert "a_worker" not in sys.modules
