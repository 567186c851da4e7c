"""KServe's model server around an exported model."""

import logging
import socket
import threading
import warnings
from collections.abc import Mapping
from typing import Any

import fastapi
import kserve
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from kserve import model_server
from kserve.errors import InvalidInput, ModelNotFound
from kserve.protocol.dataplane import DataPlane
from kserve.protocol.infer_type import InferResponse

from deepvideo_tf.errors import ConfigError
from deepvideo_tf.serving.admission import BUSY_HEADERS, AdmissionMiddleware, OverloadedError
from deepvideo_tf.serving.grpc_server import BoundedGRPCServer
from deepvideo_tf.serving.model import ServedModel
from deepvideo_tf.serving.repository import PermanentRepository, ReadOnlyRepository
from deepvideo_tf.serving.requests import JSON_LENGTH_HEADER, RawRequest

GRACE_S = 30  # for what was accepted, after SIGTERM


class RawDataPlane(DataPlane):
    """Passes bodies on unread: the model parses them, away from the event loop. No CloudEvents."""

    def decode(
        self, body: bytes, headers: Mapping[str, str], protocol_version: str = "v1", model_name: str | None = None
    ) -> tuple[RawRequest, dict[str, Any]]:
        return RawRequest(body, model_name, headers.get(JSON_LENGTH_HEADER.lower())), {}

    def encode(
        self, model_name: str, response: Any, headers: Mapping[str, str], req_attributes: Mapping[str, Any]
    ) -> tuple[Any, dict[str, str]]:
        if not isinstance(response, InferResponse):
            return response, {}
        content, json_length = response.to_rest()
        return content, {} if json_length is None else {JSON_LENGTH_HEADER: str(json_length)}


async def _reply_busy(_: fastapi.Request, error: OverloadedError) -> JSONResponse:
    return JSONResponse({"error": error.details}, 503, BUSY_HEADERS)


async def _reply_empty(*_: object) -> JSONResponse:
    return JSONResponse({"error": "the request has no body"}, 400)


def _is_not_refusal(record: logging.LogRecord) -> bool:
    """Return whether a log record is about more than a refused request."""
    return not (record.exc_info and isinstance(record.exc_info[1], InvalidInput | ModelNotFound))


def check_port(port: int) -> None:
    """Raise ConfigError unless a port is free; gRPC would share it with another server.

    Args:
        port: TCP port, on all addresses.

    Raises:
        ConfigError: it is in use.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError as error:
            raise ConfigError(f"port {port}: {error.strerror}") from None


def serve(model: ServedModel, *, http_port: int, grpc_port: int, max_request_bytes: int) -> None:
    """Serve a model until SIGTERM or Ctrl-C, then finish what was accepted.

    Args:
        model: the model, loaded.
        http_port: port of TensorFlow Serving's REST shape, the V2 protocol and `/metrics`.
        grpc_port: port of the V2 protocol.
        max_request_bytes: the longest request.
    """
    model_server.GRPCServer = BoundedGRPCServer
    model_server.args.grpc_max_receive_message_length = max_request_bytes
    server = kserve.ModelServer(
        http_port=http_port,
        grpc_port=grpc_port,
        registered_models=PermanentRepository(),
        enable_latency_logging=False,
        grace_period=GRACE_S,
    )
    for name in ("kserve", "kserve.trace", "uvicorn", "uvicorn.access"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("kserve").addFilter(_is_not_refusal)
    server.dataplane = RawDataPlane(server.registered_models)
    server.model_repository_extension = ReadOnlyRepository(server.registered_models)
    warnings.filterwarnings("ignore", "ORJSONResponse is deprecated")  # KServe's
    app = model_server.app
    app.add_middleware(AdmissionMiddleware, model=model, max_request_bytes=max_request_bytes)
    app.add_exception_handler(OverloadedError, _reply_busy)
    app.add_exception_handler(RequestValidationError, _reply_empty)
    stopped = threading.Event()
    watcher = threading.Thread(target=model.watch, args=(stopped,))
    watcher.start()
    try:
        server.start([model])
    finally:
        stopped.set()
        watcher.join()
