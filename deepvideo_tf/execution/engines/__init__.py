"""Engines: where the tasks of a job are done. One file each; each has `check` and `run`.

A task makes one whole file under a temporary name and renames it, so it may be killed and done twice. An engine maps a
function over tasks and knows nothing of what it does.
"""

from collections.abc import Generator
from typing import Any

from deepvideo_tf.errors import ConfigError
from deepvideo_tf.execution.engines import local, ray
from deepvideo_tf.execution.engines.work import Work

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


def run_tasks(work: Work, engine: str = "local") -> Generator[tuple[int, Any], None, None]:
    """Do all tasks, in any order. Close the generator to stop the work.

    Args:
        work: what to do.
        engine: one of `ENGINES`.

    Returns:
        Generator of pairs: the number of a task, and what the function returned.

    Raises:
        ConfigError: there is no such cluster.
        ShardError: a node does not have the same files, or a task killed its workers too often.
    """
    return ENGINES[engine].run(work)
