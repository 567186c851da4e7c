"""The decoder in a process of its own, so that a file that hangs or crashes FFmpeg costs a process and not the job.

Parent and child speak over pipes: a request is a line of JSON; an answer is a line of JSON, followed by the bytes of
the frames. Nothing is pickled: what comes back from a process that has read an untrusted file is only taken as data.
"""

import contextlib
import json
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import numpy as np

from deepvideo_tf.config import DecodeLimits, ShardSpec, from_json, to_json
from deepvideo_tf.data.video.decode import DecodedClip, decode_clips, read_index
from deepvideo_tf.errors import BadVideoError

# -P keeps a file in the current folder (av.py, say) from being imported in place of a package.
COMMAND = (sys.executable, "-P", "-m", "deepvideo_tf.data.video.decode_process")
KILLED = f"the decoder ended with status {-signal.SIGKILL}"


class DecoderProcess:
    """A decoder process: started by the first video, killed and started again when one takes too long.

    Use it as a context manager; one thread may use it at a time.

    Args:
        limits: what one video may cost; None for the defaults.
    """

    def __init__(self, limits: DecodeLimits | None = None):
        self.limits = limits or DecodeLimits()
        self._process: Any = None
        self._stderr: Any = None
        self._is_unwanted = False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def kill(self):
        """Ends the process from another thread; what it is decoding becomes a bad video."""
        self._is_unwanted = True
        if self._process is not None:
            self._process.kill()

    def close(self):
        """Ends the process."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._stderr.close()
            self._process = None

    def decode(self, path, spec: ShardSpec, *, start_s=0.0, end_s=None, encode=True):
        """Decodes the clips of one video, as `deepvideo_tf.data.video.decode.decode_clips` does.

        Args:
            path: the video file.
            spec: which clips, and how large and fast.
            start_s: where in the video the clips begin, seconds from its first frame.
            end_s: where they end; None for the end of the video.
            encode: True for frames as JPEG files, False for uint8 arrays `[height, width, 3]`.

        Returns:
            List of `DecodedClip`.

        Raises:
            BadVideoError: also when the file takes more than `limits.decode_timeout_s`, or ends the decoder, if by
                SIGKILL twice.
        """
        try:
            return self._decode(path, spec, start_s, end_s, encode)
        except BadVideoError as error:
            if error.reason != KILLED or self._is_unwanted:
                raise
        # From outside, for want of memory or with its node: that may say nothing about the video.
        return self._decode(path, spec, start_s, end_s, encode)

    def _decode(self, path, spec, start_s, end_s, encode):
        if self._process is None:
            self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
            self._process = subprocess.Popen(
                COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._stderr
            )
        timed_out = threading.Event()
        timer = threading.Timer(self.limits.decode_timeout_s, _kill, [self._process, timed_out])
        timer.start()
        try:
            part = {"start_s": start_s, "end_s": end_s}
            request = {"spec": to_json(spec), "limits": to_json(self.limits), "encode": encode, **part}
            return self._ask({"path": str(path), **request}, spec)
        except (EOFError, BrokenPipeError):
            reason = self._reason_of_death(timed_out.is_set())
            self.close()
            raise BadVideoError(str(path), reason) from None
        except BaseException as error:
            if not isinstance(error, BadVideoError):
                self.close()  # an answer may be half read
            raise
        finally:
            timer.cancel()
            if timed_out.is_set():
                self.close()  # also where the answer came just before: the next video must not pay for this one

    def _reason_of_death(self, timed_out):
        if timed_out:
            return f"decoding took longer than {self.limits.decode_timeout_s:g} s"
        status = self._process.wait()
        self._stderr.seek(0)
        lines = self._stderr.read().decode(errors="replace").strip().splitlines()
        return f"the decoder ended with status {status}" + (f": {lines[-1]:.200}" if lines else "")

    def _ask(self, request, spec):
        self._process.stdin.write(json.dumps(request).encode() + b"\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line.endswith(b"\n"):
            raise EOFError
        answer = json.loads(line)
        if "bad" in answer:
            raise BadVideoError(request["path"], answer["bad"])
        size_px = spec.frame_size_px
        clips = []
        for clip in answer["clips"]:
            frames = [self._read(size) for size in clip["sizes"]]
            if not request["encode"]:
                frames = [np.frombuffer(frame, np.uint8).reshape(size_px, size_px, 3) for frame in frames]
            clips.append(DecodedClip(clip["start_s"], frames))
        return clips

    def _read(self, size):
        data = self._process.stdout.read(size)
        if len(data) < size:
            raise EOFError
        return data


def _kill(process, timed_out):
    timed_out.set()
    process.kill()


def _index_bytes(limits):
    """Memory for opening a file and for its index, in FFmpeg and here: the header of a small file may declare more."""
    return 64 * 2**20 + 150 * limits.max_video_frames


def _decoding_bytes(spec, limits):
    """Memory for decoding: a file may make FFmpeg keep 16 frames to refer to, and we keep 16 to put them in order."""
    kept_frames = 100 * limits.max_frame_pixels
    clips = spec.clips_per_video * spec.clip_frames * 3 * spec.frame_size_px**2
    return 256 * 2**20 + _index_bytes(limits) + kept_frames + 3 * clips


@contextlib.contextmanager
def _memory_growth(limit_bytes):
    """Within, this process may take so much more memory; then allocations fail, which FFmpeg takes in good order."""
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


def _answer(request):
    """The header and the frames for one request."""
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


def _serve(requests, answers):
    """Answers requests until the parent closes the pipe."""
    for line in requests:
        header, frames = _answer(json.loads(line))
        answers.write(json.dumps(header).encode() + b"\n")
        answers.writelines(frames)
        answers.flush()


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    try:
        _serve(sys.stdin.buffer, sys.stdout.buffer)
    except BrokenPipeError:
        # The parent is gone; closing standard output would raise again.
        sys.stderr.close()
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        signal.raise_signal(signal.SIGPIPE)
