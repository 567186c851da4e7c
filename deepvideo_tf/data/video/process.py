"""The decoder in a process of its own, so that a file that hangs or crashes FFmpeg costs a process and not the job.

A request is a line of JSON; an answer is a line of JSON, followed by the bytes of the frames.
"""

import contextlib
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np

from deepvideo_tf.config import DecodeLimits, ShardSpec, from_json, to_json
from deepvideo_tf.data.video.decode import DecodedClip, decode_clips
from deepvideo_tf.data.video.index import VideoFile, read_index
from deepvideo_tf.errors import BadVideoError
from deepvideo_tf.execution.worker_process import (
    WorkerDiedError,
    WorkerProcess,
    read_exactly,
    read_json,
    serve,
    write_json,
)


class DecoderProcess:
    """A decoder process: started by the first video, killed and started again when one takes too long.

    Use it as a context manager; one thread may use it at a time.

    Args:
        limits: what one video may cost; None for the defaults.
    """

    def __init__(self, limits: DecodeLimits | None = None):
        self.limits = limits or DecodeLimits()
        self._process = WorkerProcess("deepvideo_tf.data.video.process")
        self._is_unwanted = False

    def __enter__(self) -> "DecoderProcess":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def pid(self) -> int | None:
        """The decoder's process id; None while there is none."""
        return self._process.pid

    def kill(self) -> None:
        """End the process from another thread; the video that it is decoding becomes a bad one."""
        self._is_unwanted = True
        self._process.kill()

    def close(self) -> None:
        """End the process."""
        self._process.close()

    def decode(
        self,
        path: VideoFile,
        spec: ShardSpec,
        *,
        start_s: float = 0.0,
        end_s: float | None = None,
        encode: bool = True,
    ) -> list[DecodedClip]:
        """Decode the clips of one video, as `deepvideo_tf.data.video.decode.decode_clips` does.

        Args:
            path: the video file.
            spec: which clips, and how large and fast.
            start_s: where in the video the clips begin, seconds from its first frame.
            end_s: where they end; None for the end of the video.
            encode: True for frames as bytes in the spec's format, False for uint8 arrays `[height, width, 3]`.

        Returns:
            List of `DecodedClip`.

        Raises:
            BadVideoError: also when the file takes more than `limits.decode_timeout_s`, or ends the decoder; by
                SIGKILL only the second time.
        """
        part = {"start_s": start_s, "end_s": end_s, "encode": encode}
        request = {"path": str(path), "spec": to_json(spec), "limits": to_json(self.limits), **part}
        try:
            try:
                answer = self._ask(request)
            except WorkerDiedError as death:
                if death.timed_out or death.status != -signal.SIGKILL or self._is_unwanted:
                    raise
                # From outside, for lack of memory or with its node: that may say nothing about the video.
                answer = self._ask(request)
        except WorkerDiedError as death:
            late = f"decoding took longer than {self.limits.decode_timeout_s:g} s"
            raise BadVideoError(str(path), late if death.timed_out else f"the decoder {death}") from None
        if "bad" in answer:
            raise BadVideoError(str(path), answer["bad"])
        side_px = spec.frame_size_px
        return [
            DecodedClip(
                clip["start_s"],
                clip["frames"]
                if encode
                else [np.frombuffer(frame, np.uint8).reshape(side_px, side_px, 3) for frame in clip["frames"]],
            )
            for clip in answer["clips"]
        ]

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        return self._process.ask(lambda pipe: write_json(pipe, request), _receive, self.limits.decode_timeout_s)


def _receive(pipe: IO[bytes]) -> dict[str, Any]:
    """Read an answer: `bad`, or `clips` with the bytes of their `frames`."""
    answer = read_json(pipe)
    for clip in answer.get("clips", ()):
        clip["frames"] = [read_exactly(pipe, size) for size in clip["sizes"]]
    return answer


def _index_bytes(limits: DecodeLimits) -> int:
    """Return the memory for opening a file and for its index, in FFmpeg and here: a small file may declare much."""
    return 64 * 2**20 + 150 * limits.max_video_frames


def _decoding_bytes(spec: ShardSpec, limits: DecodeLimits) -> int:
    """Return the memory for decoding: FFmpeg may keep 16 frames to refer to, and we keep 16 to put them in order."""
    kept_frames = 100 * limits.max_frame_pixels
    clips = spec.clips_per_video * spec.clip_frames * 3 * spec.frame_size_px**2
    return 256 * 2**20 + _index_bytes(limits) + kept_frames + 3 * clips


@contextlib.contextmanager
def _memory_growth(limit_bytes: int) -> Iterator[None]:
    """Let this process take so much more memory; then allocations fail, which FFmpeg handles well."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:  # not Linux, and no limit
        yield
        return
    import resource

    data_kb = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmData:"))
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    wanted = min(limit for limit in (1024 * data_kb + limit_bytes, soft, hard) if limit != resource.RLIM_INFINITY)
    resource.setrlimit(resource.RLIMIT_DATA, (wanted, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def _answer(request: dict[str, Any]) -> tuple[dict[str, Any], list[bytes]]:
    """Return the header and the frames for one request."""
    spec = from_json(ShardSpec, request.pop("spec"), "request")
    limits = from_json(DecodeLimits, request.pop("limits"), "request")
    try:
        with _memory_growth(_index_bytes(limits)):
            index = read_index(request["path"], limits)
        with _memory_growth(_decoding_bytes(spec, limits)):
            clips = decode_clips(spec=spec, limits=limits, index=index, **request)
    except BadVideoError as error:
        return {"bad": error.reason}, []
    frames = [frame if request["encode"] else frame.tobytes() for clip in clips for frame in clip.frames]
    sizes = iter(len(frame) for frame in frames)
    header = [{"start_s": clip.start_s, "sizes": [next(sizes) for _ in clip.frames]} for clip in clips]
    return {"clips": header}, frames


def _answer_all(requests: IO[bytes], answers: IO[bytes]) -> None:
    while True:
        header, frames = _answer(read_json(requests))
        write_json(answers, header)
        answers.writelines(frames)
        answers.flush()


if __name__ == "__main__":
    serve(_answer_all)
