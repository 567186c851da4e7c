"""KServe's gRPC server with a limit to the open calls, and checked messages."""

import traceback
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from kserve.protocol.grpc import grpc_predict_v2_pb2_grpc
from kserve.protocol.grpc.interceptors import ExceptionToStatusInterceptor
from kserve.protocol.grpc.server import GRPCServer
from kserve.protocol.grpc.servicer import InferenceServicer

from deepvideo_tf.serving.model import ServedModel

MAX_CALLS = 16  # open at a time


class RequestInterceptor(grpc.aio.ServerInterceptor):
    """Refuses calls that are not messages of their method, or ask for a version that is not served.

    Args:
        model: the model.
    """

    def __init__(self, model: ServedModel) -> None:
        self._model = model

    async def intercept_service(
        self, continuation: Callable[[Any], Awaitable[Any]], handler_call_details: Any
    ) -> grpc.RpcMethodHandler | None:
        handler = await continuation(handler_call_details)
        if handler is None:
            return None

        def read(message: bytes) -> Any:
            try:
                return handler.request_deserializer(message)
            except DecodeError:
                return None

        async def call(request: Any, context: grpc.aio.ServicerContext) -> Any:
            if request is None:
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the request is not a message of this method")
            number = getattr(request, "model_version", "") or getattr(request, "version", "")
            if number and (problem := self._model.version_problem(number)):
                await context.abort(grpc.StatusCode.NOT_FOUND, problem)
            try:
                return await handler.unary_unary(request, context)
            except Exception as error:
                _clear_frames(error)
                raise

        return grpc.unary_unary_rpc_method_handler(call, read, handler.response_serializer)


class BoundedGRPCServer(GRPCServer):
    """KServe's gRPC server with a limit to the calls that are open at a time: each may hold a whole request."""

    async def start(self, max_workers: int) -> None:
        (model,) = self._data_plane.model_registry.get_models().values()
        self._server = grpc.aio.server(
            interceptors=(RequestInterceptor(model), ExceptionToStatusInterceptor()),
            options=[("grpc.max_receive_message_length", self._kwargs["grpc_max_receive_message_length"])],
            maximum_concurrent_rpcs=MAX_CALLS,
        )
        servicer = InferenceServicer(self._data_plane, self._model_repository_extension)
        grpc_predict_v2_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(servicer, self._server)
        self._server.add_insecure_port(f"[::]:{self._port}")
        await self._server.start()
        await self._server.wait_for_termination()


def _clear_frames(error: BaseException | None) -> None:
    """Release the request, which the frames of an error hold until Python collects cycles."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__context__
