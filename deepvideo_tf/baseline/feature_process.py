"""Computes the features of stored clips in a process of its own, so that all cores work, without TensorFlow.

Parent and child speak over pipes: a request is a line of JSON, followed by the bytes of encoded frames; an answer is
NumPy arrays, one after the other. Nothing is pickled.
"""

import io
import json
import os
import signal
import struct
import subprocess
import sys
import tempfile
from typing import Any

import cv2
import numpy as np
import simplejpeg

from deepvideo_tf.baseline import codebooks as books
from deepvideo_tf.baseline.features import KINDS, local_features
from deepvideo_tf.data.sampling import view_of
from deepvideo_tf.errors import ShardError

# -P keeps a file in the current folder (cv2.py, say) from being imported in place of a package.
COMMAND = (sys.executable, "-P", "-m", "deepvideo_tf.baseline.feature_process")
# On one thread sums are taken in one order, and come out the same to the bit; and there is a process for each core.
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
_LENGTH = struct.Struct("<Q")


class FeatureProcess:
    """A process that computes features: started by the first clip.

    Use it as a context manager; one thread may use it at a time.

    Args:
        settings: dict of `frame_format` and `frame_size_px` of the stored frames, `crop_size_px`, `boxes` (the views:
            top, left, mirrored), and `sampled`: how many descriptors of each kind to give of the first view; None for
            the vector of each view.
        codebooks: dict from each kind to its `Codebook`; None where descriptors are sampled.
    """

    def __init__(self, settings, codebooks=None):
        self._settings = settings
        self._codebooks = codebooks
        self._process: Any = None
        self._stderr: Any = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._stderr.close()

    def __call__(self, frames, seed=0):
        """Computes the features of one clip.

        Args:
            frames: the frames that the model sees, as they are stored, bytes.
            seed: of the sample of descriptors.

        Returns:
            float16 `[view, vector_dims]`; or a list of float32 `[descriptor, dim]`, one for each of `KINDS`.

        Raises:
            ShardError: the process ended, since a frame is no picture of the stored size.
        """
        try:
            if self._process is None:
                self._start()
            header = {"sizes": [len(frame) for frame in frames], "seed": seed}
            self._process.stdin.write(json.dumps(header).encode() + b"\n")
            self._process.stdin.writelines(frames)
            self._process.stdin.flush()
            arrays = [read_array(self._process.stdout) for _ in (KINDS if self._codebooks is None else [None])]
        except (ValueError, EOFError, BrokenPipeError):
            self._process.wait()
            self._stderr.seek(0)
            lines = self._stderr.read().decode(errors="replace").strip().splitlines()
            raise ShardError(f"the features of a clip cannot be computed: {lines[-1] if lines else 'killed'}") from None
        return arrays if self._codebooks is None else arrays[0]

    def _start(self):
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        self._process = subprocess.Popen(
            COMMAND,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            env=os.environ | ONE_THREAD,
        )
        self._process.stdin.write(json.dumps(self._settings).encode() + b"\n")
        for kind in KINDS if self._codebooks else ():
            write_array(self._process.stdin, self._codebooks[kind].words)
            write_array(self._process.stdin, np.float64(self._codebooks[kind].width))


def write_array(pipe, array):
    """Writes an array with its shape and type, after the number of its bytes."""
    content = io.BytesIO()
    np.save(content, array, allow_pickle=False)
    pipe.write(_LENGTH.pack(content.tell()) + content.getvalue())


def read_array(pipe):
    """Reads what `write_array` wrote; an EOFError where the pipe has ended."""
    header = pipe.read(_LENGTH.size)
    if len(header) < _LENGTH.size:
        raise EOFError
    # Of memory, not of the pipe: NumPy reads past the buffer of what has a file descriptor.
    return np.load(io.BytesIO(pipe.read(*_LENGTH.unpack(header))), allow_pickle=False)


def _serve(requests, answers):
    """Answers requests until the parent closes the pipe."""
    cv2.setNumThreads(1)
    settings = json.loads(requests.readline())
    codebooks = None
    if settings["sampled"] is None:
        codebooks = {kind: books.Codebook(read_array(requests), float(read_array(requests))) for kind in KINDS}
    while line := requests.readline():
        request = json.loads(line)
        frames = np.stack([_decoded(requests.read(size), settings) for size in request["sizes"]])
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


def _decoded(frame, settings):
    size_px = settings["frame_size_px"]
    if settings["frame_format"] == "raw":
        return np.frombuffer(frame, np.uint8).reshape(size_px, size_px, 3)
    picture = simplejpeg.decode_jpeg(frame, fastdct=True)  # the same pixels as TensorFlow's decoder, in evaluation
    if picture.shape != (size_px, size_px, 3):
        raise ValueError(f"expected frames of {size_px} x {size_px} px, found {picture.shape}")
    return picture


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    try:
        _serve(sys.stdin.buffer, sys.stdout.buffer)
    except BrokenPipeError:
        # The parent is gone; closing standard output would raise again.
        sys.stderr.close()
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        signal.raise_signal(signal.SIGPIPE)
