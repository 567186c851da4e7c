"""Computing the features of stored clips in processes of their own, so that all cores work, without TensorFlow.

A request is a line of JSON, followed by the bytes of encoded frames; an answer is NumPy arrays, one after the other.
"""

import contextlib
import io
import itertools
import os
import queue
import struct
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import IO, Any

import cv2
import numpy as np
import simplejpeg

from deepvideo_tf.baseline import codebooks as books
from deepvideo_tf.baseline.features import KINDS, local_features
from deepvideo_tf.data.sampling import view_of
from deepvideo_tf.errors import ShardError
from deepvideo_tf.execution.worker_process import (
    WorkerDiedError,
    WorkerProcess,
    read_exactly,
    read_json,
    serve,
    write_json,
)

# On one thread sums are taken in one order, and come out the same to the bit; and there is a process for each core.
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
WAITING_PER_PROCESS = 4  # clips that are read before their turn
_LENGTH = struct.Struct("<Q")

Frames = Sequence[bytes]
Features = np.ndarray | list[np.ndarray]


class FeatureProcess:
    """A process that computes features: started by the first clip.

    Use it as a context manager; one thread may use it at a time.

    Args:
        settings: dict of `frame_format` and `frame_size_px` of the stored frames, `crop_size_px`, `boxes` (the views:
            top, left, mirrored), and `sampled`: how many descriptors of each kind to sample from the first view; None
            for the vector of each view.
        codebooks: dict from each kind to its `Codebook`; None where descriptors are sampled.
    """

    def __init__(self, settings: Mapping[str, Any], codebooks: Mapping[str, books.Codebook] | None = None):
        self._settings = settings
        self._codebooks = codebooks
        self._process = WorkerProcess(
            "deepvideo_tf.baseline.feature_process", environment=ONE_THREAD, greet=self._send_settings
        )

    def __enter__(self) -> "FeatureProcess":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.close()

    def __call__(self, frames: Frames, seed: int | Sequence[int] = 0) -> Features:
        """Compute the features of one clip.

        Args:
            frames: the frames that the model sees, as they are stored, bytes.
            seed: of the sample of descriptors.

        Returns:
            float16 `[view, vector_dims]`; or a list of float32 `[descriptor, dim]`, one for each of `KINDS`.

        Raises:
            ShardError: the process ended, because a frame is not a picture of the stored size.
        """

        def send(pipe: IO[bytes]) -> None:
            write_json(pipe, {"sizes": [len(frame) for frame in frames], "seed": seed})
            pipe.writelines(frames)

        def receive(pipe: IO[bytes]) -> Features:
            return [read_array(pipe) for _ in KINDS] if self._codebooks is None else read_array(pipe)

        try:
            return self._process.ask(send, receive)
        except WorkerDiedError as death:
            reason = death.last_line or "killed"
            raise ShardError(f"the features of a clip cannot be computed: {reason}") from None

    def _send_settings(self, pipe: IO[bytes]) -> None:
        write_json(pipe, self._settings)
        for kind in KINDS if self._codebooks else ():
            assert self._codebooks is not None
            write_array(pipe, self._codebooks[kind].words)
            write_array(pipe, np.float64(self._codebooks[kind].width))


@contextlib.contextmanager
def feature_processes(
    settings: Mapping[str, Any], codebooks: Mapping[str, books.Codebook] | None, num_workers: int | None
) -> Iterator[Callable[[Iterable[tuple[Frames, Any]]], Iterator[Any]]]:
    """Start several processes.

    Args:
        settings: as of `FeatureProcess`.
        codebooks: as of `FeatureProcess`.
        num_workers: processes; None for the number of processors.

    Yields:
        A function from jobs (frames, seed) to their features, in the jobs' order; few jobs are taken before their turn.
    """
    workers = num_workers or os.cpu_count() or 1
    with contextlib.ExitStack() as stack, ThreadPoolExecutor(workers) as pool:
        free: queue.SimpleQueue[FeatureProcess] = queue.SimpleQueue()
        for _ in range(workers):
            free.put(stack.enter_context(FeatureProcess(settings, codebooks)))

        def features_of(job: tuple[Frames, Any]) -> Features:
            process = free.get()
            try:
                return process(*job)
            finally:
                free.put(process)

        def in_order(jobs: Iterable[tuple[Frames, Any]]) -> Iterator[Any]:
            jobs = iter(jobs)
            first = itertools.islice(jobs, WAITING_PER_PROCESS * workers)
            waiting = deque(pool.submit(features_of, job) for job in first)
            while waiting:
                yield waiting.popleft().result()
                waiting.extend(pool.submit(features_of, job) for job in itertools.islice(jobs, 1))

        yield in_order


def write_array(pipe: IO[bytes], array: np.ndarray | np.float64) -> None:
    """Write an array with its shape and type, after the number of its bytes."""
    content = io.BytesIO()
    np.save(content, array, allow_pickle=False)
    pipe.write(_LENGTH.pack(content.tell()) + content.getvalue())


def read_array(pipe: IO[bytes]) -> np.ndarray:
    """Read what `write_array` wrote; an EOFError where the pipe has ended."""
    (size,) = _LENGTH.unpack(read_exactly(pipe, _LENGTH.size))
    # From memory, not from the pipe: NumPy reads past the buffer of what has a file descriptor.
    return np.load(io.BytesIO(read_exactly(pipe, size)), allow_pickle=False)


def _answer_all(requests: IO[bytes], answers: IO[bytes]) -> None:
    cv2.setNumThreads(1)
    settings = read_json(requests)
    codebooks = None
    if settings["sampled"] is None:
        codebooks = {kind: books.Codebook(read_array(requests), float(read_array(requests))) for kind in KINDS}
    while True:
        request = read_json(requests)
        frames = np.stack([_decoded(read_exactly(requests, size), settings) for size in request["sizes"]])
        if codebooks is None:
            found = local_features(view_of(frames, settings["boxes"][0], settings["crop_size_px"]))
            rng = np.random.default_rng(request["seed"])
            for kind in KINDS:
                descriptors = found[kind].descriptors
                chosen = rng.permutation(len(descriptors))[: settings["sampled"]]
                write_array(answers, descriptors[chosen])
        else:
            views = [view_of(frames, box, settings["crop_size_px"]) for box in settings["boxes"]]
            write_array(answers, np.stack([books.clip_vector(view, codebooks) for view in views]))
        answers.flush()


def _decoded(frame: bytes, settings: Mapping[str, Any]) -> np.ndarray:
    size_px = settings["frame_size_px"]
    if settings["frame_format"] == "raw":
        return np.frombuffer(frame, np.uint8).reshape(size_px, size_px, 3)
    picture = simplejpeg.decode_jpeg(frame, fastdct=True)  # the same pixels as TensorFlow's decoder, in evaluation
    if picture.shape != (size_px, size_px, 3):
        raise ValueError(f"expected frames of {size_px} x {size_px} px, found {picture.shape}")
    return picture


if __name__ == "__main__":
    serve(_answer_all)
