"""What an engine does."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Work:
    """A function over tasks.

    Args:
        function: called as `function(task, worker, on_video)`, by Ray in another process; returns plain data.
        tasks: plain data with `path`, the file to make, and `videos`.
        new_worker: called as `new_worker(settings)` for each worker; returns a context manager whose `kill()`, called
            from another thread, ends what it is doing. A worker does one task at a time.
        settings: frozen dataclass.
        num_workers: tasks done at once; None for the number of processors, of this machine or of the cluster.
        ray_address: of the cluster; None for the one that runs on this machine, or a new one.
        must_see: absolute paths of files and folders that every node must have as this machine has them.
        on_video: called with no arguments after each video; with Ray, for all videos of a task when it is done.
    """

    function: Callable[..., Any]
    tasks: Sequence[Any]
    new_worker: Callable[[Any], Any]
    settings: Any
    num_workers: int | None = None
    ray_address: str | None = None
    must_see: Sequence[str] = ()
    on_video: Callable[[], object] | None = None


def count_videos(videos: Sequence[Any], on_video: Callable[[], object] | None) -> None:
    """Call `on_video` for videos that were done elsewhere or before."""
    if on_video is not None:
        for _ in videos:
            on_video()
