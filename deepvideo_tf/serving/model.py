"""The model as KServe calls it: the newest version that can be loaded, and the clips that are in progress."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import kserve
import numpy as np
import prometheus_client
from kserve.errors import InvalidInput

from deepvideo_tf.errors import ConfigError, ModelFileError
from deepvideo_tf.formats.saved_model import version_folders
from deepvideo_tf.serving.admission import Capacity
from deepvideo_tf.serving.requests import ParsedRequest, RawRequest, parse_request
from deepvideo_tf.serving.versions import Version, load_version

WATCH_S = 1.0  # between two looks for a new version
MAX_PARSING = 16  # requests that were read and wait until they are parsed

PENDING = prometheus_client.Gauge("deepvideo_pending_clips", "clips accepted and not yet answered")
ACCEPTED = prometheus_client.Counter("deepvideo_accepted_requests", "requests that there was room for")
VERSION = prometheus_client.Gauge("deepvideo_model_version", "number of the version that answers")

logger = logging.getLogger(__name__)

Files = list[tuple[Path, int, int, int]]  # path, size, time of the last change, inode


class ServedModel(kserve.Model):
    """The newest version of an exported model.

    Args:
        name: the name in requests.
        export_dir: the folder of versions.
        max_batch_clips: the most clips that are computed together.
        max_pending_clips: the most clips that are accepted and not yet answered.
    """

    version: Version

    def __init__(self, name: str, export_dir: str | Path, *, max_batch_clips: int, max_pending_clips: int) -> None:
        super().__init__(name)
        self.clips = Capacity(max_pending_clips)
        self.accepted = 0  # requests since the start
        PENDING.set_function(lambda: self.clips.used)
        self._export_dir = Path(export_dir)
        self._limits = {"max_batch_clips": max_batch_clips, "max_pending_clips": max_pending_clips}
        self._loaded: tuple[Path, Files] | None = None  # the version's folder and files
        self._seen: list[tuple[Path, Files]] | None = None  # those of all versions, when one was last chosen
        self._problems: list[ModelFileError] = []  # of those that could not be loaded then
        self._parsing = Capacity(MAX_PARSING)
        self._parsers = ThreadPoolExecutor(2, "parse")
        # A thread for each request that may be accepted: it waits in TensorFlow's queue of batches.
        self._threads = ThreadPoolExecutor(max_pending_clips, "answer")

    def load(self) -> bool:
        """Load the newest version that can be loaded, unless it is loaded already; `log_problems` reports the others.

        Requests in progress are finished by the version that began them.

        Returns:
            Whether there is a version to serve.

        Raises:
            ModelFileError: no version can be loaded.
        """
        self._seen, self._problems = self._look(), []
        for folder in reversed(self._versions()):
            found = folder, _files_of(folder)
            try:
                if found != self._loaded:
                    self._serve(load_version(folder, **self._limits), found)
                break
            except ModelFileError as error:
                self._problems.append(error)
        else:
            raise self._problems[0] if self._problems else ModelFileError(_no_versions(self._export_dir))
        self.ready = True
        return self.ready

    def log_problems(self) -> None:
        """Log which versions could not be loaded, and which one is served."""
        for problem in self._problems:
            logger.error("%s; version %s answers", problem, self.version.number)

    def _serve(self, version: Version, found: tuple[Path, Files]) -> None:
        self.version, self._loaded = version, found
        gc.collect()  # the garbage of the previous version holds its variables
        VERSION.set(int(version.number))
        logger.info("version %s answers", version.number)

    def watch(self, stopped: threading.Event) -> None:
        """Load other versions once nothing is writing them any more, until `stopped` is set."""
        before = self._seen
        while not stopped.wait(WATCH_S):
            now = self._look()
            if now == before != self._seen:
                try:
                    self.load()
                    self.log_problems()
                except (ModelFileError, OSError) as error:
                    logger.error("%s; version %s goes on answering", error, self.version.number)
            before = now

    def _versions(self) -> list[Path]:
        return [Path(str(folder)) for folder in version_folders(self._export_dir)]  # the folder is on the disk

    def _look(self) -> list[tuple[Path, Files]] | None:
        try:
            return [(folder, _files_of(folder)) for folder in self._versions()]
        except OSError:  # it was deleted meanwhile
            return None

    def version_problem(self, number: str) -> str | None:
        """Return why a version cannot be asked for by its number, or None if it is the one that is served."""
        served = self.version.number
        return None if number == served else f"that version does not answer, {served} does"

    async def preprocess(self, payload: RawRequest, headers: Mapping[str, str] | None = None) -> ParsedRequest:
        with self._parsing.reserve(1), _as_invalid_input():
            return await _run_in(self._parsers, parse_request, payload, self.version)

    async def predict(
        self, payload: ParsedRequest, headers: Mapping[str, str] | None = None, response_headers: object = None
    ) -> tuple[ParsedRequest, dict[str, np.ndarray]]:
        with self.clips.reserve(len(payload.rows)), _as_invalid_input():
            self.accepted += 1
            ACCEPTED.inc()
            outputs = await _run_in(self._threads, payload.version.predict, payload.signature, payload.rows)
            return payload, outputs

    async def postprocess(
        self,
        result: tuple[ParsedRequest, dict[str, np.ndarray]],
        headers: Mapping[str, str] | None = None,
        response_headers: object = None,
    ) -> Any:
        request, outputs = result
        return request.reply(outputs)

    async def explain(self, payload: object, headers: Mapping[str, str] | None = None) -> None:
        raise InvalidInput("this model predicts, it does not explain")

    def get_input_types(self) -> list[dict[str, Any]]:
        signature = self.version.signature("serving_default")
        return [{"name": signature.input_name, "datatype": "UINT8", "shape": [-1, *signature.row_shape]}]

    def get_output_types(self) -> list[dict[str, Any]]:
        outputs = self.version.signature("serving_default").outputs
        return [
            {"name": name, "datatype": "BYTES" if dtype is object else "FP32", "shape": [-1, *shape]}
            for name, (dtype, shape) in outputs.items()
        ]


def _files_of(folder: Path) -> Files:
    """Return what is known of a version's files without reading them."""
    files: list[tuple[Path, os.stat_result]] = [(path, path.stat()) for path in sorted(folder.rglob("*"))]
    return [(path, stat.st_size, stat.st_mtime_ns, stat.st_ino) for path, stat in files]


def _no_versions(export_dir: Path) -> str:
    if not export_dir.is_dir():
        return f"{export_dir}: there is no such folder"
    found = ", ".join(sorted(path.name for path in export_dir.iterdir())[:5]) or "nothing"
    return f"{export_dir}: expected versions, folders named 1, 2 and so on. Found: {found}"


async def _run_in(pool: ThreadPoolExecutor, function: Callable[..., Any], *arguments: Any) -> Any:
    return await asyncio.get_running_loop().run_in_executor(pool, function, *arguments)


@contextlib.contextmanager
def _as_invalid_input() -> Iterator[None]:
    try:
        yield
    except ConfigError as error:
        raise InvalidInput(str(error)) from None
