"""Resumable jobs: tasks -> one file each, by one rename -> the manifest, last.

A task that is done is not done again, so an interrupted job resumes where it was. A job whose manifest is there is
finished.
"""

import abc
import contextlib
import hashlib
import itertools
import json
import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Generic, TypeVar

from deepvideo_tf.errors import DeepVideoError
from deepvideo_tf.execution.engines import run_tasks
from deepvideo_tf.execution.engines.work import Work
from deepvideo_tf.storage.locks import locked
from deepvideo_tf.storage.paths import AnyPath

ManifestT = TypeVar("ManifestT")


class Job(abc.ABC, Generic[ManifestT]):
    """What `run_job` does, by one process at a time."""

    make: Callable[..., dict[str, Any]]  # called as make(task, worker, on_video), also on other machines
    new_worker: Callable[[Any], Any]  # called as new_worker(settings)
    tasks: Sequence[Any]  # plain data with `path` and `videos`
    settings: Any
    folder: AnyPath
    lock: AnyPath
    busy: DeepVideoError  # raised where another process does the job
    must_see: Sequence[str]  # what all nodes need, absolute paths

    @abc.abstractmethod
    def finished(self) -> ManifestT | None:
        """Return the manifest, or None if the job is not finished; raise if the folder holds another job."""

    @abc.abstractmethod
    def claim(self) -> Iterable[AnyPath]:
        """Make the folder this job's; return the temporary files that killed workers left."""

    @abc.abstractmethod
    def check(self, result: dict[str, Any]) -> None:
        """Report the bad videos of a task's result; raise if there are too many so far."""

    @abc.abstractmethod
    def finish(self, results: Sequence[dict[str, Any]]) -> ManifestT:
        """Write the manifest from the results of all tasks, in their order, and return it."""


def run_job(
    job: Job[ManifestT],
    *,
    engine: str,
    num_workers: int | None,
    ray_address: str | None,
    on_video: Callable[[], object] | None,
) -> ManifestT:
    """Do what is left of a job.

    Args:
        job: what to do.
        engine: one of `engines.ENGINES`.
        num_workers: tasks done at once; None for the number of processors.
        ray_address: of a Ray cluster, or None.
        on_video: called with no arguments after each video, for a progress bar.

    Returns:
        The job's manifest.

    Raises:
        DeepVideoError: another process is doing it, or what the job and its tasks raise.
        OSError: the folder cannot be written.
    """
    if (manifest := job.finished()) is not None:
        return manifest
    job.folder.mkdir(parents=True, exist_ok=True)
    with locked(job.lock, job.busy):
        if (manifest := job.finished()) is not None:  # by another process, since we looked
            return manifest
        for orphan in job.claim():
            orphan.unlink()
        results: dict[int, dict[str, Any]] = {}
        work = Work(job.make, job.tasks, job.new_worker, job.settings, num_workers, ray_address, job.must_see, on_video)
        running = run_tasks(work, engine)
        with contextlib.closing(running):
            for number, result in running:
                results[number] = result
                job.check(result)
        return job.finish([results[number] for number in range(len(job.tasks))])


def first_present(paths: Iterable[str]) -> list[str]:
    """Return the first path that exists, among the first 100: one that every node should see; or an empty list."""
    return [path for path in itertools.islice(paths, 100) if os.path.isfile(path)][:1]


def fingerprint_of(data: Any, *, sort_keys: bool = False) -> str:
    """Return the SHA-256 of plain data as JSON, hexadecimal."""
    return hashlib.sha256(json.dumps(data, sort_keys=sort_keys).encode()).hexdigest()
