"""Where the tasks of a job are done: on threads of this process, or on the nodes of a Ray cluster.

A task makes one whole file under a temporary name and renames it, so that it may be killed and done twice. The engines
map a function over tasks and know nothing of what it does. Ray schedules, and tries again where a worker or node dies.
"""

import contextlib
import functools
import logging
import os
import queue
import re
import signal
import socket
import threading
import uuid
import warnings
from concurrent.futures import ThreadPoolExecutor, as_completed

from deepvideo_tf.errors import ConfigError, DeepVideoError, ShardError, first_line
from deepvideo_tf.storage.files import is_writable
from deepvideo_tf.storage.paths import to_path

ENGINES = ("local", "ray")
# A task whose worker dies again and again is to blame for it; nodes that are taken away are not, so the number is high.
MAX_DEATHS = 20
CONNECT_S = 10
MAX_SUBMITTED = 1000  # tasks that Ray knows of at once


def check_engine(engine, ray_address):
    """Refuses an engine that there is not, or an address that it does not take.

    Args:
        engine: `local` or `ray`.
        ray_address: of a Ray cluster, or None.

    Raises:
        ConfigError: as described, or Ray is asked for and not installed.
    """
    if engine not in ENGINES:
        raise ConfigError(f"engine must be one of {', '.join(ENGINES)}. Received: {engine!r}")
    if ray_address is not None and engine != "ray":
        raise ConfigError(f"ray_address goes with engine=ray only. Received: {ray_address!r}, engine={engine}")
    if engine == "ray":
        _import_ray()


def run_tasks(
    function,
    tasks,
    new_worker,
    settings,
    *,
    engine="local",
    num_workers=None,
    ray_address=None,
    must_see=(),
    on_video=None,
):
    """Does all tasks, in any order. Close the generator to stop the work.

    Args:
        function: called as `function(task, worker, on_video)`, and by Ray in another process; returns plain data.
        tasks: list of plain data with `path`, the file to make, and `videos`.
        new_worker: called as `new_worker(settings)` for each worker; a context manager whose `kill()`, called from
            another thread, ends what it is doing. A worker does one task at a time.
        settings: frozen dataclass.
        engine: `local` or `ray`.
        num_workers: tasks done at once; None for the number of processors, of this machine or of the cluster.
        ray_address: of the cluster; None for the one that runs on this machine, or a new one.
        must_see: absolute paths of files and folders that every node has to have as this machine has them.
        on_video: called with no arguments after each video; with Ray, for all videos of a task when it is done.

    Returns:
        Generator of pairs: the number of a task, and what the function returned.

    Raises:
        ConfigError: there is no such cluster.
        ShardError: a node does not have the same files, or a task killed its workers too often.
    """
    if engine == "ray":
        return _on_ray(function, tasks, new_worker, settings, num_workers, ray_address, must_see, on_video)
    return _on_threads(function, tasks, new_worker, settings, num_workers or os.cpu_count() or 1, on_video)


def _on_threads(function, tasks, new_worker, settings, num_workers, on_video):
    stop = threading.Event()

    def after_video():
        if stop.is_set():
            raise InterruptedError("the work was stopped")
        if on_video is not None:
            on_video()

    def result_of(task):
        worker = free.get()
        try:
            return function(task, worker, after_video)
        finally:
            free.put(worker)

    # A thread a worker: it waits for a decoder process, or is in TensorFlow, outside of Python's lock.
    free: queue.SimpleQueue = queue.SimpleQueue()
    with contextlib.ExitStack() as stack, ThreadPoolExecutor(num_workers) as pool:
        workers = [stack.enter_context(new_worker(settings)) for _ in range(num_workers)]
        for worker in workers:
            free.put(worker)
        numbers = {pool.submit(result_of, task): number for number, task in enumerate(tasks)}
        try:
            for future in as_completed(numbers):
                yield numbers[future], future.result()
        except BaseException:  # of the caller, too: his comes as GeneratorExit
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            for worker in workers:
                worker.kill()  # its thread must not wait for a video that nobody wants any more
            raise


def _on_ray(function, tasks, new_worker, settings, num_workers, address, must_see, on_video):
    with _cluster(address) as (ray, is_ours):
        _check_nodes(ray, to_path(tasks[0].path).parent, must_see)
        remote = ray.remote(_do).options(num_cpus=1, max_retries=MAX_DEATHS, scheduling_strategy="SPREAD")
        waiting, numbers = iter(enumerate(tasks)), {}
        try:
            while True:
                while len(numbers) < (num_workers or MAX_SUBMITTED) and (pair := next(waiting, None)):
                    numbers[remote.remote(function, pair[1], new_worker, settings)] = pair[0]
                if not numbers:
                    return
                for done in ray.wait(list(numbers))[0]:
                    number = numbers.pop(done)
                    result = _result(ray, done, tasks[number])
                    for _ in tasks[number].videos if on_video is not None else ():
                        on_video()
                    yield number, result
        finally:
            # Disconnecting ends what is ours. To cancel it first can crash Ray, where a task ends at the same moment.
            for unfinished in () if is_ours else numbers:
                ray.cancel(unfinished, force=True)


def _do(function, task, new_worker, settings):
    return function(task, _worker_of_this_process(new_worker, settings), None)


@functools.lru_cache(maxsize=1)
def _worker_of_this_process(new_worker, settings):
    """Ray's processes do many tasks, one after the other: a decoder or a model lives as long as they."""
    return new_worker(settings)


def _result(ray, done, task):
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


def _import_ray():
    # Ray would report of its use, tell of each worker that dies on standard output, and warn of its own next version.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ".")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
    except ImportError:
        raise ConfigError("engine=ray needs the extra: pip install 'deepvideo-tf[ray]'") from None
    return ray


@contextlib.contextmanager
def _cluster(address):
    """Ray, connected to a cluster, and whether for us alone: the caller's own connection is used and left."""
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
                signal.signal(number, handler)  # Ray's own would end the program without a word
        yield ray, True
    finally:
        ray.shutdown()


def _check_answers(address):
    """Refuses an address at which nothing listens: Ray itself would try for two minutes."""
    found = re.fullmatch(r"(?:ray://)?([^/:]+|\[[^/]+\]):(\d+)", address or "")
    if not found:
        return
    try:
        socket.create_connection((found[1].strip("[]"), int(found[2])), CONNECT_S).close()
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or first_line(error)
        raise ConfigError(f"ray_address: expected a Ray cluster at {address}, found none: {reason}") from None


def _check_nodes(ray, output_dir, must_see):
    """Refuses a cluster one of whose nodes does not have our files, before anything slow is done."""
    import deepvideo_tf

    probe = output_dir / f"{uuid.uuid4().hex}.tmp"
    probe.write_bytes(b"seen by all nodes")
    try:
        expected = [(str(path), _size(path)) for path in (*must_see, probe)]
        asked = {}
        for node in ray.nodes():
            if node["Alive"] and node["Resources"].get("CPU"):
                here = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
                options = {"num_cpus": 0, "scheduling_strategy": here}
                answer = ray.remote(_problem_here).options(**options).remote(expected, deepvideo_tf.__version__)
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


def _size(path):
    """Bytes of a file, -1 for a folder, None for nothing."""
    path = to_path(path)
    if path.is_dir():
        return -1
    return path.stat().st_size if path.exists() else None


def _problem_here(expected, version):
    """What is wrong with this node, in a few words, or None."""
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
