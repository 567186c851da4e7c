"""KServe's model server around an exported model: what it lets in, and which version answers."""

import asyncio
import contextlib
import gc
import logging
import socket
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import fastapi
import kserve
import orjson
import prometheus_client
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from grpc_interceptor.exceptions import Unavailable
from kserve import model_server
from kserve.errors import InvalidInput, ModelNotFound
from kserve.model_repository import ModelRepository
from kserve.protocol.dataplane import DataPlane
from kserve.protocol.infer_type import InferRequest, InferResponse
from kserve.protocol.model_repository_extension import ModelRepositoryExtension

from deepvideo_tf.errors import ConfigError, ModelFileError
from deepvideo_tf.exporting.saved_model import latest_version
from deepvideo_tf.serving.requests import JSON_LENGTH_HEADER, read_binary_tensors, read_question
from deepvideo_tf.serving.versions import load_version

WATCH_S = 1.0  # between two looks for a new version
READ_TIMEOUT_S = 30  # of a request's body
MAX_READING = 64  # bodies that are read at a time
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
    """Room for clips that are accepted and not yet answered. Used on the event loop only.

    Args:
        max_clips: how many there may be.
    """

    def __init__(self, max_clips):
        self.accepted = 0  # requests since the beginning
        self._max_clips = max_clips
        self._taken = 0

    @property
    def full(self):
        """Whether there is no room for one more clip."""
        return self._taken >= self._max_clips

    @contextlib.contextmanager
    def take(self, clips):
        """Holds places while the clips are computed.

        Raises:
            OverloadedError: there is not enough room.
        """
        if self._taken + clips > self._max_clips:
            REFUSED.inc()
            raise OverloadedError
        self.accepted += 1
        ACCEPTED.inc()
        self._taken += clips
        PENDING.set(self._taken)
        try:
            yield
        finally:
            self._taken -= clips
            PENDING.set(self._taken)


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
        self.version = None
        self._export_dir = export_dir
        self._limits = {"max_batch_clips": max_batch_clips, "max_pending_clips": max_pending_clips}
        self._failed = None
        # A thread for each request that may be accepted: it waits in TensorFlow's queue of batches.
        self._threads = ThreadPoolExecutor(max_pending_clips, "answer")

    def load(self):
        """Loads the newest version, if it is not loaded already. Requests that an older one has begun, it ends.

        Returns:
            Whether there is a version that answers.

        Raises:
            ModelFileError: there is none, or it is damaged.
        """
        newest = latest_version(self._export_dir)
        if newest is None:
            raise ModelFileError(f"{self._export_dir}: expected a folder of versions, as deepvideo-export-saved-model")
        if self.version is None or newest.name != self.version.number:
            self.version = load_version(newest, **self._limits)
            gc.collect()  # what is left of the one before holds its variables
            VERSION.set(int(newest.name))
            logger.info("version %s answers", newest.name)
        self.ready = True
        return self.ready

    def watch(self, stopped):
        """Loads new versions until it is told to stop; one that cannot be loaded is told of and left alone."""
        while not stopped.wait(WATCH_S):
            newest = latest_version(self._export_dir)
            if newest is None or newest.name in (self.version.number, self._failed):
                continue
            try:
                self.load()
            except ModelFileError as error:
                self._failed = newest.name
                logger.error("%s; version %s goes on answering", error, self.version.number)

    async def preprocess(self, payload, headers=None):
        with _refused_politely():
            return read_question(payload, self.version)

    async def predict(self, payload, headers=None, response_headers=None):
        with self.places.take(len(payload.rows)), _refused_politely():
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


@contextlib.contextmanager
def _refused_politely():
    try:
        yield
    except ConfigError as error:
        raise InvalidInput(str(error)) from None


class Bodies(DataPlane):
    """How bodies are read and written: as KServe does, but with no CloudEvents, and with binary files."""

    def decode(self, body, headers, protocol_version="v1", model_name=None):
        if not isinstance(body, bytes):
            return InferRequest.from_inference_request(body, model_name), {}
        with _refused_politely():
            if protocol_version == "v2":
                return read_binary_tensors(body, headers.get(JSON_LENGTH_HEADER, len(body)), model_name), {}
            try:
                request = orjson.loads(body)
            except orjson.JSONDecodeError as error:
                raise ConfigError(f"the request is not JSON: {error}") from None
            if not isinstance(request, dict):
                raise ConfigError(f"expected a JSON object. Received: {type(request).__name__}")
            return request, {}

    def encode(self, model_name, response, headers, req_attributes):
        if not isinstance(response, InferResponse):
            return response, {}
        content, json_length = response.to_rest()
        return content, {} if json_length is None else {JSON_LENGTH_HEADER: str(json_length)}


class Gate:
    """Refuses what must not come in before it is read: requests while there is no room, and bodies that are too long.

    Args:
        app: the ASGI application behind it.
        places: the model's `Places`.
        max_request_bytes: of a body.
    """

    def __init__(self, app, places, max_request_bytes):
        self._app = app
        self._places = places
        self._max_request_bytes = max_request_bytes
        self._reading = 0

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def count(message):
            if message["type"] == "http.response.start":
                RESPONSES.labels(message["status"]).inc()
            await send(message)

        try:
            body = await self._body(scope, receive) if scope["method"] == "POST" else b""
        except fastapi.HTTPException as error:
            response = JSONResponse({"error": error.detail}, error.status_code, error.headers)
            await response(scope, receive, count)
            return
        messages = [{"type": "http.request", "body": body, "more_body": False}]
        if body is not None:
            await self._app(scope, lambda: _next(messages, receive), count)

    async def _body(self, scope, receive):
        """The whole body, or None where the caller has gone."""
        if self._places.full or self._reading >= MAX_READING:
            REFUSED.inc()
            raise _busy()
        self._reading += 1
        try:
            async with asyncio.timeout(READ_TIMEOUT_S):
                return await self._read(dict(scope["headers"]).get(b"content-length", b"0"), receive)
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


async def _next(messages, receive):
    return messages.pop() if messages else await receive()


def _busy():
    return fastapi.HTTPException(503, OverloadedError().details, {"Retry-After": "1"})


async def _answer_busy(_, error):
    return JSONResponse({"error": error.details}, 503, {"Retry-After": "1"})


async def _answer_malformed(_, error):
    """FastAPI would send the whole request back, and fail where it is no text."""
    what = "; ".join(f"{'.'.join(map(str, one['loc']))[:50]}: {one['msg'][:100]}" for one in error.errors()[:3])
    return JSONResponse({"error": f"the request is not what the protocol says: {what}"}, 400)


class Lasting(ModelRepository):
    """The one model, kept to the end: KServe would drop it first when it is told to stop."""

    def unload(self, name):
        pass


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

    Raises:
        ConfigError: a port is taken.
    """
    for port in (http_port, grpc_port):
        check_port(port)
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
    app.add_middleware(Gate, places=model.places, max_request_bytes=max_request_bytes)
    app.add_exception_handler(OverloadedError, _answer_busy)
    app.add_exception_handler(RequestValidationError, _answer_malformed)
    stopped = threading.Event()
    watcher = threading.Thread(target=model.watch, args=(stopped,))
    watcher.start()
    try:
        server.start([model])
    finally:
        stopped.set()
        watcher.join()
