"""Engines: where the tasks of a job are done. One file each; each has `check` and `run`.

A task makes one whole file under a temporary name and renames it, so it may be killed and done twice. An engine maps a
function over tasks and knows nothing of what it does.
"""

from collections.abc import Callable, Generator, Sequence
from typing import Any

from deepvideo_tf.errors import ConfigError
from deepvideo_tf.execution.engines import local, ray

ENGINES = {"local": local, "ray": ray}


def check_engine(engine: str, ray_address: str | None) -> None:
    """Raise ConfigError for an unknown engine, an address that it does not take, or a package that is not installed.

    Args:
        engine: one of `ENGINES`.
        ray_address: of a Ray cluster, or None.

    Raises:
        ConfigError: as described.
    """
    if engine not in ENGINES:
        raise ConfigError(f"engine must be one of {', '.join(ENGINES)}. Received: {engine!r}")
    if ray_address is not None and engine != "ray":
        raise ConfigError(f"ray_address goes with engine=ray only. Received: {ray_address!r}, engine={engine}")
    ENGINES[engine].check()


def run_tasks(
    function: Callable[..., Any],
    tasks: Sequence[Any],
    new_worker: Callable[[Any], Any],
    settings: Any,
    *,
    engine: str = "local",
    num_workers: int | None = None,
    ray_address: str | None = None,
    must_see: Sequence[str] = (),
    on_video: Callable[[], object] | None = None,
) -> Generator[tuple[int, Any], None, None]:
    """Do all tasks, in any order. Close the generator to stop the work.

    Args:
        function: called as `function(task, worker, on_video)`, by Ray in another process; returns plain data.
        tasks: plain data with `path`, the file to make, and `videos`.
        new_worker: called as `new_worker(settings)` for each worker; returns a context manager whose `kill()`, called
            from another thread, ends what it is doing. A worker does one task at a time.
        settings: frozen dataclass.
        engine: one of `ENGINES`.
        num_workers: tasks done at once; None for the number of processors, of this machine or of the cluster.
        ray_address: of the cluster; None for the one that runs on this machine, or a new one.
        must_see: absolute paths of files and folders that every node must have as this machine has them.
        on_video: called with no arguments after each video; with Ray, for all videos of a task when it is done.

    Returns:
        Generator of pairs: the number of a task, and what the function returned.

    Raises:
        ConfigError: there is no such cluster.
        ShardError: a node does not have the same files, or a task killed its workers too often.
    """
    return ENGINES[engine].run(
        function,
        tasks,
        new_worker,
        settings,
        num_workers=num_workers,
        address=ray_address,
        must_see=must_see,
        on_video=on_video,
    )
