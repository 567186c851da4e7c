"""The nodes of a Ray cluster: Ray schedules, and tries again where a worker or node dies."""

import contextlib
import functools
import logging
import os
import re
import signal
import socket
import threading
import uuid
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any

from deepvideo_tf.errors import ConfigError, DeepVideoError, ShardError, first_line
from deepvideo_tf.execution.engines.work import Work, count_videos
from deepvideo_tf.storage.files import is_writable
from deepvideo_tf.storage.paths import AnyPath, to_path

# A task whose worker dies again and again is to blame for it; nodes that are taken away are not, so the number is high.
MAX_DEATHS = 20
CONNECT_S = 10
MAX_SUBMITTED = 1000  # tasks that Ray knows of at once


def check() -> None:
    """Raise ConfigError if Ray is not installed."""
    _import_ray()


def run(work: Work) -> Generator[tuple[int, Any], None, None]:
    """Do all tasks on a cluster, as `engines.run_tasks` describes."""
    with _cluster(work.ray_address) as (ray, is_ours):
        _check_nodes(ray, to_path(work.tasks[0].path).parent, work.must_see)
        remote = ray.remote(_do).options(num_cpus=1, max_retries=MAX_DEATHS, scheduling_strategy="SPREAD")
        waiting = iter(enumerate(work.tasks))
        numbers: dict[Any, int] = {}
        try:
            while True:
                while len(numbers) < (work.num_workers or MAX_SUBMITTED) and (pair := next(waiting, None)):
                    numbers[remote.remote(work.function, pair[1], work.new_worker, work.settings)] = pair[0]
                if not numbers:
                    return
                for done in ray.wait(list(numbers))[0]:
                    number = numbers.pop(done)
                    result = _result(ray, done, work.tasks[number])
                    count_videos(work.tasks[number].videos, work.on_video)
                    yield number, result
        finally:
            # Disconnecting ends what is ours. Canceling it first can crash Ray, where a task ends at the same moment.
            for unfinished in () if is_ours else numbers:
                ray.cancel(unfinished, force=True)


def _do(function: Callable[..., Any], task: Any, new_worker: Callable[[Any], Any], settings: Any) -> Any:
    return function(task, _worker_of_this_process(new_worker, settings), None)


@functools.lru_cache(maxsize=1)
def _worker_of_this_process(new_worker: Callable[[Any], Any], settings: Any) -> Any:
    """Ray's processes do many tasks, one after the other: a decoder or a model lives as long as they do."""
    return new_worker(settings)


def _result(ray: Any, done: Any, task: Any) -> Any:
    try:
        return ray.get(done)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, (DeepVideoError, OSError)):
            raise error.cause from None
        raise  # a defect: the message holds the traceback from the node
    except (ray.exceptions.WorkerCrashedError, ray.exceptions.NodeDiedError, ray.exceptions.OutOfMemoryError) as error:
        raise ShardError(
            f"{task.path}: its worker died {MAX_DEATHS + 1} times, the last time: {first_line(error)}"
        ) from None


def _import_ray() -> Any:
    # Ray would send usage statistics, print each worker that dies, and warn of its own next version.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ".")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
    except ImportError:
        raise ConfigError("engine=ray needs the extra: pip install 'deepvideo-tf[ray]'") from None
    return ray


@contextlib.contextmanager
def _cluster(address: str | None) -> Iterator[tuple[Any, bool]]:
    """Yield Ray, connected to a cluster, and whether for us alone: the caller's own connection is used and left."""
    ray = _import_ray()
    if ray.is_initialized():
        yield ray, False
        return
    _check_answers(address)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ray.init(address=address, log_to_driver=False, logging_level=logging.CRITICAL)
    except (OSError, RuntimeError, ValueError) as error:
        raise ConfigError(
            f"ray_address: expected a Ray cluster at {address or 'this machine'}, found none: {first_line(error)}"
        ) from None
    try:
        if threading.current_thread() is threading.main_thread():
            for number, handler in handlers.items():
                signal.signal(number, handler)  # Ray's own would end the program silently
        yield ray, True
    finally:
        ray.shutdown()


def _check_answers(address: str | None) -> None:
    """Raise ConfigError for an address at which nothing listens; Ray itself would try for two minutes."""
    found = re.fullmatch(r"(?:ray://)?([^/:]+|\[[^/]+\]):(\d+)", address or "")
    if not found:
        return
    try:
        socket.create_connection((found[1].strip("[]"), int(found[2])), CONNECT_S).close()
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or first_line(error)
        raise ConfigError(f"ray_address: expected a Ray cluster at {address}, found none: {reason}") from None


def _check_nodes(ray: Any, output_dir: AnyPath, must_see: Sequence[str]) -> None:
    """Raise ShardError if a node of the cluster does not have our files, before anything slow is done."""
    import deepvideo_tf

    probe = output_dir / f"{uuid.uuid4().hex}.tmp"
    probe.write_bytes(b"seen by all nodes")
    try:
        expected = [(str(path), _size(str(path))) for path in (*must_see, probe)]
        asked = {}
        for node in ray.nodes():
            if node["Alive"] and node["Resources"].get("CPU"):
                here = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
                options = {"num_cpus": 0, "scheduling_strategy": here}
                answer = ray.remote(problem_here).options(**options).remote(expected, deepvideo_tf.__version__)
                asked[answer] = node["NodeManagerAddress"]
        for answer, node in asked.items():
            try:
                problem = ray.get(answer)
            except (ray.exceptions.TaskUnschedulableError, ray.exceptions.NodeDiedError):
                continue  # it has gone: nothing will be done there
            except ray.exceptions.RayError as error:
                problem = f"cannot run deepvideo-tf: {first_line(error)}"
            if problem:
                raise ShardError(f"Ray's node {node} {problem}")
    finally:
        probe.unlink()


def _size(name: str) -> int | None:
    """Return the bytes of a file, -1 for a folder, None for nothing."""
    path = to_path(name)
    if path.is_dir():
        return -1
    return path.stat().st_size if path.exists() else None


def problem_here(expected: Sequence[tuple[str, int | None]], version: str) -> str | None:
    """Return what is wrong with the node that this runs on.

    Args:
        expected: paths and their sizes in bytes, -1 for a folder, None for nothing; the last one is in the folder that
            tasks write to.
        version: of this package, as elsewhere.

    Returns:
        A few words that follow the node's name, or None.
    """
    import deepvideo_tf

    if deepvideo_tf.__version__ != version:
        return f"has deepvideo-tf {deepvideo_tf.__version__}, expected {version}"
    for path, size in expected:
        if _size(path) != size:
            return f"does not have {path} as this machine has it; all nodes need the same files under the same names"
    output_dir = to_path(expected[-1][0]).parent
    if not is_writable(output_dir):
        return f"may not write to {output_dir}"
    return None
