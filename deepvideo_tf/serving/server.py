"""KServe's model server around an exported model: what it lets in, and which version answers."""

import asyncio
import contextlib
import gc
import logging
import re
import socket
import threading
import traceback
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fastapi
import grpc
import kserve
import prometheus_client
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from google.protobuf.message import DecodeError
from grpc_interceptor.exceptions import Unavailable
from kserve import model_server
from kserve.errors import InvalidInput, ModelNotFound
from kserve.model_repository import ModelRepository
from kserve.protocol.dataplane import DataPlane
from kserve.protocol.grpc import grpc_predict_v2_pb2_grpc
from kserve.protocol.grpc.interceptors import ExceptionToStatusInterceptor
from kserve.protocol.grpc.server import GRPCServer
from kserve.protocol.grpc.servicer import InferenceServicer
from kserve.protocol.infer_type import InferResponse
from kserve.protocol.model_repository_extension import ModelRepositoryExtension

from deepvideo_tf.errors import ConfigError, ModelFileError
from deepvideo_tf.formats.saved_model import version_folders
from deepvideo_tf.serving.requests import JSON_LENGTH_HEADER, Body, read_question
from deepvideo_tf.serving.versions import load_version

WATCH_S = 1.0  # between two looks for a new version
READ_TIMEOUT_S = 30  # of a request's body
MAX_READING = 64  # bodies that are read at a time over HTTP
MAX_CALLS = 16  # that are open at a time over gRPC
MAX_PARSING = 16  # requests that were read and wait until they are made arrays
GRACE_S = 30  # for what was accepted, after SIGTERM

PENDING = prometheus_client.Gauge("deepvideo_pending_clips", "clips accepted and not yet answered")
ACCEPTED = prometheus_client.Counter("deepvideo_accepted_requests", "requests that there was room for")
REFUSED = prometheus_client.Counter("deepvideo_refused_requests", "requests answered 503 or UNAVAILABLE: no room")
RESPONSES = prometheus_client.Counter("deepvideo_http_responses", "answers over HTTP", ["status"])
VERSION = prometheus_client.Gauge("deepvideo_model_version", "number of the version that answers")

logger = logging.getLogger(__name__)


class OverloadedError(Unavailable):
    """There is no room: 503 over HTTP, UNAVAILABLE over gRPC."""

    def __init__(self):
        super().__init__("the server is busy: try again later")


class Places:
    """Room for what is worked on. Used on the event loop only.

    Args:
        limit: how many places there are.
    """

    def __init__(self, limit):
        self.taken = 0
        self._limit = limit

    @property
    def full(self):
        """Whether there is no room for one more."""
        return self.taken >= self._limit

    @contextlib.contextmanager
    def take(self, count):
        """Holds places.

        Args:
            count: of clips.

        Yields:
            None; the places are held inside the `with`.

        Raises:
            OverloadedError: there is not enough room.
        """
        if self.taken + count > self._limit:
            REFUSED.inc()
            raise OverloadedError
        self.taken += count
        try:
            yield
        finally:
            self.taken -= count


class ServedModel(kserve.Model):
    """The newest version of an exported model, as KServe calls it.

    Args:
        name: under which it is asked for.
        export_dir: the folder of versions.
        max_batch_clips: clips that are computed together at most.
        max_pending_clips: clips accepted and not yet answered at most.
    """

    def __init__(self, name, export_dir, *, max_batch_clips, max_pending_clips):
        super().__init__(name)
        self.places = Places(max_pending_clips)
        self.accepted = 0  # requests since the beginning
        self.version = None
        PENDING.set_function(lambda: self.places.taken)
        self._export_dir = export_dir
        self._limits = {"max_batch_clips": max_batch_clips, "max_pending_clips": max_pending_clips}
        self._loaded = None  # the folder of the version, and what its files were
        self._tried = None  # the same of all versions, when one was last chosen
        self._untold = []  # what was wrong with those that could not be loaded then
        self._parsing = Places(MAX_PARSING)
        self._parsers = ThreadPoolExecutor(2, "parse")
        # A thread for each request that may be accepted: it waits in TensorFlow's queue of batches.
        self._threads = ThreadPoolExecutor(max_pending_clips, "answer")

    def load(self):
        """Loads the newest version that can be loaded, if it is not loaded already. `tell` tells of those that cannot.

        Requests that an older one has begun, it ends.

        Returns:
            Whether there is a version that answers.

        Raises:
            ModelFileError: there is none that can be loaded.
        """
        self._tried, self._untold = self._look(), []
        for folder in reversed(version_folders(self._export_dir)):
            found = folder, _files_of(folder)
            try:
                if found != self._loaded:
                    self._answer_with(load_version(folder, **self._limits), found)
                break
            except ModelFileError as error:
                self._untold.append(error)
        else:
            raise self._untold[0] if self._untold else ModelFileError(_without_versions(self._export_dir))
        self.ready = True
        return self.ready

    def tell(self):
        """Writes to the log which versions could not be loaded, and which one answers."""
        for problem in self._untold:
            logger.error("%s; version %s answers", problem, self.version.number)

    def _answer_with(self, version, found):
        self.version, self._loaded = version, found
        gc.collect()  # what is left of the one before holds its variables
        VERSION.set(int(version.number))
        logger.info("version %s answers", version.number)

    def watch(self, stopped):
        """Looks for other versions until it is told to stop: as soon as nobody is writing them any more."""
        before = self._tried
        while not stopped.wait(WATCH_S):
            now = self._look()
            if now == before != self._tried:
                try:
                    self.load()
                    self.tell()
                except (ModelFileError, OSError) as error:
                    logger.error("%s; version %s goes on answering", error, self.version.number)
            before = now

    def _look(self):
        try:
            return [(folder, _files_of(folder)) for folder in version_folders(self._export_dir)]
        except OSError:  # it was deleted meanwhile
            return None

    async def preprocess(self, payload, headers=None):
        with self._parsing.take(1), _refused_politely():
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._parsers, read_question, payload, self.version)

    async def predict(self, payload, headers=None, response_headers=None):
        with self.places.take(len(payload.rows)), _refused_politely():
            self.accepted += 1
            ACCEPTED.inc()
            loop = asyncio.get_running_loop()
            return payload, await loop.run_in_executor(
                self._threads, payload.version.answer, payload.signature, payload.rows
            )

    async def postprocess(self, result, headers=None, response_headers=None):
        question, outputs = result
        return question.reply(outputs)

    async def explain(self, payload, headers=None):
        raise InvalidInput("this model predicts, it does not explain")

    def get_input_types(self):
        signature = self.version.signature("serving_default")
        return [{"name": signature.input_name, "datatype": "UINT8", "shape": [-1, *signature.row_shape]}]

    def get_output_types(self):
        outputs = self.version.signature("serving_default").outputs
        return [
            {"name": name, "datatype": "BYTES" if dtype is object else "FP32", "shape": [-1, *shape]}
            for name, (dtype, shape) in outputs.items()
        ]


def _files_of(folder):
    """What a version's files are, as far as one sees without reading them."""
    files = [(path, path.stat()) for path in sorted(folder.rglob("*"))]
    return [(path, stat.st_size, stat.st_mtime_ns, stat.st_ino) for path, stat in files]


def _without_versions(export_dir):
    export_dir = Path(export_dir)
    if not export_dir.is_dir():
        return f"{export_dir}: there is no such folder"
    found = ", ".join(sorted(path.name for path in export_dir.iterdir())[:5]) or "nothing"
    return f"{export_dir}: expected versions, folders named 1, 2 and so on. Found: {found}"


@contextlib.contextmanager
def _refused_politely():
    try:
        yield
    except ConfigError as error:
        raise InvalidInput(str(error)) from None


class Bodies(DataPlane):
    """How bodies are read and written: by the model, away from the event loop, and with no CloudEvents."""

    def decode(self, body, headers, protocol_version="v1", model_name=None):
        return Body(body, model_name, headers.get(JSON_LENGTH_HEADER.lower())), {}

    def encode(self, model_name, response, headers, req_attributes):
        if not isinstance(response, InferResponse):
            return response, {}
        content, json_length = response.to_rest()
        return content, {} if json_length is None else {JSON_LENGTH_HEADER: str(json_length)}


class Gate:
    """Refuses what must not come in before it is read: requests while there is no room, and bodies that are too long.

    Args:
        app: the ASGI application behind it.
        model: `ServedModel`.
        max_request_bytes: of a body.
    """

    def __init__(self, app, model, max_request_bytes):
        self._app = app
        self._model = model
        self._max_request_bytes = max_request_bytes
        self._reading = 0

    async def __call__(self, scope, receive, send):
        if scope["type"] == "lifespan":
            return  # there is nothing to start, and a second Ctrl-C would break it off with a traceback
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def count(message):
            if message["type"] == "http.response.start":
                RESPONSES.labels(message["status"]).inc()
            await send(message)

        try:
            scope = scope | {"path": self._without_version(scope["path"])}
            body = b""
            if scope["method"] == "POST":
                body = await self._body(dict(scope["headers"]), receive)
                scope["headers"] = _of_bytes(scope["headers"])
        except fastapi.HTTPException as error:
            response = JSONResponse({"error": error.detail}, error.status_code, error.headers)
            await response(scope, receive, count)
            return
        messages = [{"type": "http.request", "body": body, "more_body": False}]
        if body is not None:
            await self._app(scope, lambda: _next(messages, receive), count)

    def _without_version(self, path):
        """The V2 protocol's address of a version as that of the model, which KServe knows, if that version answers."""
        asked = re.fullmatch("(/v2/models/[^/]+)/versions/([^/]+)(/.*)?", path)
        if asked is None:
            return path
        if asked[2] != self._model.version.number:
            raise fastapi.HTTPException(404, _other_version(self._model))
        return asked[1] + (asked[3] or "")

    async def _body(self, headers, receive):
        """The whole body, or None where the caller has gone."""
        if headers.get(b"content-encoding", b"identity").lower() != b"identity":
            raise fastapi.HTTPException(415, "Content-Encoding: bodies are read as they are, not compressed")
        if self._model.places.full or self._reading >= MAX_READING:
            REFUSED.inc()
            raise _busy()
        self._reading += 1
        try:
            async with asyncio.timeout(READ_TIMEOUT_S):
                return await self._read(headers.get(b"content-length", b"0"), receive)
        except TimeoutError:
            raise fastapi.HTTPException(408, f"the request did not come within {READ_TIMEOUT_S} s") from None
        finally:
            self._reading -= 1

    async def _read(self, declared, receive):
        body, more = bytearray(), True
        while more:
            if max(len(body), int(declared)) > self._max_request_bytes:
                raise fastapi.HTTPException(413, f"a request may have {self._max_request_bytes} bytes at most")
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            body += message.get("body", b"")
            more = message.get("more_body", False)
        if len(body) > self._max_request_bytes:
            raise fastapi.HTTPException(413, f"a request may have {self._max_request_bytes} bytes at most")
        return bytes(body)


def _of_bytes(headers):
    """Headers that let FastAPI pass the body on as it is: it would make objects of JSON, and of each error in it."""
    others = [(name, value) for name, value in headers if name != b"content-type"]
    return [*others, (b"content-type", b"application/octet-stream")]


def _other_version(model):
    return f"that version does not answer, {model.version.number} does"


async def _next(messages, receive):
    return messages.pop() if messages else await receive()


def _busy():
    return fastapi.HTTPException(503, OverloadedError().details, {"Retry-After": "1"})


async def _answer_busy(_, error):
    return JSONResponse({"error": error.details}, 503, {"Retry-After": "1"})


async def _answer_empty(*_):
    return JSONResponse({"error": "the request has no body"}, 400)


class Lasting(ModelRepository):
    """The one model, kept to the end: KServe would drop it first when it is told to stop."""

    def unload(self, name):
        pass


def _forget_locals(error):
    """Lets go of the request that the calls on the way of an error hold, until Python looks for cycles."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__context__


class Calls(grpc.aio.ServerInterceptor):
    """Refuses calls over gRPC that are no messages, or about another version than the one that answers.

    Args:
        model: `ServedModel`.
    """

    def __init__(self, model):
        self._model = model

    async def intercept_service(self, continuation, handler_call_details):
        handler = await continuation(handler_call_details)
        if handler is None:
            return None

        def read(message):
            try:
                return handler.request_deserializer(message)
            except DecodeError:
                return None

        async def answer(request, context):
            if request is None:
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the request is not a message of this method")
            asked = getattr(request, "model_version", "") or getattr(request, "version", "")
            if asked not in ("", self._model.version.number):
                await context.abort(grpc.StatusCode.NOT_FOUND, _other_version(self._model))
            try:
                return await handler.unary_unary(request, context)
            except Exception as error:
                _forget_locals(error)
                raise

        return grpc.unary_unary_rpc_method_handler(answer, read, handler.response_serializer)


class Bounded(GRPCServer):
    """KServe's server of gRPC, with a limit to the calls that are open at a time: each may hold a whole request."""

    async def start(self, max_workers):
        (model,) = self._data_plane.model_registry.get_models().values()
        self._server = grpc.aio.server(
            interceptors=(Calls(model), ExceptionToStatusInterceptor()),
            options=[("grpc.max_receive_message_length", self._kwargs["grpc_max_receive_message_length"])],
            maximum_concurrent_rpcs=MAX_CALLS,
        )
        servicer = InferenceServicer(self._data_plane, self._model_repository_extension)
        grpc_predict_v2_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(servicer, self._server)
        self._server.add_insecure_port(f"[::]:{self._port}")
        await self._server.start()
        await self._server.wait_for_termination()


class Closed(ModelRepositoryExtension):
    """No loading and unloading by callers: versions are published in the folder."""

    async def load(self, model_name):
        raise (
            ModelNotFound(model_name)
            if self._model_registry.get_model(model_name) is None
            else InvalidInput("versions are published in the folder of versions")
        )

    unload = load


def _is_no_refusal(record):
    """Whether a line of the log tells of more than a request that was refused."""
    return not (record.exc_info and isinstance(record.exc_info[1], InvalidInput | ModelNotFound))


def check_port(port):
    """Makes sure that a port is free, which gRPC would share with another server.

    Args:
        port: TCP port, on all addresses.

    Raises:
        ConfigError: it is not.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError as error:
            raise ConfigError(f"port {port}: {error.strerror}") from None


def serve(model, *, http_port, grpc_port, max_request_bytes):
    """Serves a model until SIGTERM or Ctrl-C, then ends what was accepted.

    Args:
        model: `ServedModel`, loaded.
        http_port: of TensorFlow Serving's REST shape, the V2 protocol and `/metrics`.
        grpc_port: of the V2 protocol.
        max_request_bytes: of a request.

    """
    model_server.GRPCServer = Bounded
    model_server.args.grpc_max_receive_message_length = max_request_bytes
    server = kserve.ModelServer(
        http_port=http_port,
        grpc_port=grpc_port,
        registered_models=Lasting(),
        enable_latency_logging=False,
        grace_period=GRACE_S,
    )
    for name in ("kserve", "kserve.trace", "uvicorn", "uvicorn.access"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("kserve").addFilter(_is_no_refusal)
    server.dataplane = Bodies(server.registered_models)
    server.model_repository_extension = Closed(server.registered_models)
    warnings.filterwarnings("ignore", "ORJSONResponse is deprecated")  # KServe's
    app = model_server.app
    app.add_middleware(Gate, model=model, max_request_bytes=max_request_bytes)
    app.add_exception_handler(OverloadedError, _answer_busy)
    app.add_exception_handler(RequestValidationError, _answer_empty)
    stopped = threading.Event()
    watcher = threading.Thread(target=model.watch, args=(stopped,))
    watcher.start()
    try:
        server.start([model])
    finally:
        stopped.set()
        watcher.join()
