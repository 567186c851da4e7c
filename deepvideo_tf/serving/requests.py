"""Parsing requests and building responses: TensorFlow Serving's JSON and the V2 inference protocol."""

import base64
import contextlib
import math
import re
import struct
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
from kserve import InferInput, InferOutput, InferRequest, InferResponse
from kserve.protocol.infer_type import RequestedOutput, to_http_parameters
from kserve.utils.numpy_codec import from_np_dtype

from deepvideo_tf.errors import ConfigError
from deepvideo_tf.serving.versions import Signature, Version

DEFAULT_SIGNATURE = "serving_default"
JSON_LENGTH_HEADER = "Inference-Header-Content-Length"  # the V2 protocol's: where JSON ends and binary tensors begin

Outputs = dict[str, np.ndarray]

_KINDS = {
    dict: "an object",
    list: "a list",
    str: "text",
    bytes: "bytes",
    int: "a whole number",
    float: "a number with a fraction",
    bool: "true or false",
    type(None): "null",
}


@dataclass(frozen=True)
class RawRequest:
    """A request over HTTP, not parsed.

    Args:
        content: its bytes.
        model_name: the model that is asked for, in the V2 protocol; otherwise None.
        json_length: the header with the number of bytes that are JSON, if there is one.
    """

    content: bytes
    model_name: str | None = None
    json_length: str | None = None


@dataclass(frozen=True)
class ParsedRequest:
    """A request that was parsed and checked.

    Args:
        version: the version that computes it.
        signature: its signature.
        rows: the signature's input.
        reply: from the outputs to the response.
    """

    version: Version
    signature: Signature
    rows: np.ndarray
    reply: Callable[[Outputs], Any]


def parse_request(body: RawRequest | InferRequest, version: Version) -> ParsedRequest:
    """Parse a request of either protocol.

    Sizes are compared with the signature's before values are parsed.

    Args:
        body: the request; `kserve.InferRequest` for the V2 protocol over gRPC.
        version: the version that is asked.

    Returns:
        `ParsedRequest`.

    Raises:
        ConfigError: it does not follow its protocol or the signature.
    """
    if isinstance(body, InferRequest):
        return _read_tensors(body, version)
    if body.model_name is None:
        return _read_json(_object(body.content), version)
    return _read_tensors(_infer_request(body), version)


def _object(text: bytes) -> dict[str, Any]:
    try:
        request = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise ConfigError(f"the request is not JSON: {error}") from None
    return _checked(request, dict, "the request")


def _checked(value: Any, kind: type, what: str) -> Any:
    """Return a JSON value if it has the expected type."""
    if type(value) is not kind:
        raise ConfigError(f"{what}: expected {_KINDS[kind]}. Received: {_KINDS[type(value)]}")
    return value


def _optional(record: Mapping[str, Any], key: str, kind: type, default: Any = None) -> Any:
    """Return an object's value under a key, or the default if it is missing or null."""
    return default if record.get(key) is None else _checked(record[key], kind, key)


def _read_json(body: dict[str, Any], version: Version) -> ParsedRequest:
    """Parse TensorFlow Serving's `{"signature_name": ..., "instances": [...]}`, or `inputs` for all rows in one."""
    kinds = {"instances", "inputs"} & set(body)
    if len(kinds) != 1 or set(body) - {"signature_name", "instances", "inputs"}:
        raise ConfigError(f"expected instances or inputs, and if need be signature_name. Received: {_keys(body)}")
    signature = version.signature(_optional(body, "signature_name", str, DEFAULT_SIGNATURE))
    name, by_row = signature.input_name, kinds == {"instances"}
    values = _checked(body["instances"] if by_row else _named(body["inputs"], name), list, name)
    version.check(signature, (len(values), *signature.row_shape))
    rows = _array([_named(row, name) for row in values] if by_row else values, signature)
    return ParsedRequest(version, signature, rows, _json_rows if by_row else _json_columns)


def _keys(record: Iterable[str]) -> str:
    return f"{', '.join(record) or 'nothing':.100}"


def _named(value: Any, name: str) -> Any:
    """Return a value, or what it has under its input's name."""
    if not isinstance(value, dict) or set(value) == {"b64"}:
        return value
    if set(value) != {name}:
        raise ConfigError(f"expected the input {name}. Received: {_keys(value)}")
    return value[name]


def _json_columns(outputs: Outputs) -> dict[str, Any]:
    plain = {name: _plain(value) for name, value in outputs.items()}
    return {"outputs": next(iter(plain.values())) if len(plain) == 1 else plain}


def _json_rows(outputs: Outputs) -> dict[str, Any]:
    columns = [_plain(value) for value in outputs.values()]
    rows = zip(*columns, strict=True)
    return {"predictions": [row[0] if len(row) == 1 else dict(zip(outputs, row, strict=True)) for row in rows]}


def _plain(array: np.ndarray) -> list:
    return np.char.decode(array.astype(bytes), "utf-8").tolist() if array.dtype == object else array.tolist()


def _read_tensors(request: InferRequest, version: Version) -> ParsedRequest:
    """Parse the V2 protocol's tensors; its parameter `signature_name` chooses the signature."""
    parameters = to_http_parameters(request.parameters or {})
    signature = version.signature(_optional(parameters, "signature_name", str, DEFAULT_SIGNATURE))
    if [tensor.name for tensor in request.inputs] != [signature.input_name]:
        names = ", ".join(tensor.name for tensor in request.inputs[:5]) or "nothing"
        raise ConfigError(f"{signature.name} takes one input, {signature.input_name}. Received: {names:.100}")
    rows = _rows(request.inputs[0], version, signature)
    wanted = [output.name for output in request.request_outputs or ()]
    if set(wanted) - set(signature.outputs) or len(set(wanted)) < len(wanted):
        names = ", ".join(wanted[:5])
        raise ConfigError(f"{signature.name} gives {', '.join(signature.outputs)}, once each. Wanted: {names:.100}")
    return ParsedRequest(
        version, signature, rows, lambda outputs: _tensors(request, version, outputs, wanted or outputs)
    )


def _tensors(request: InferRequest, version: Version, outputs: Outputs, wanted: Iterable[str]) -> InferResponse:
    tensors = []
    for name in wanted:
        value = outputs[name]
        tensors.append(InferOutput(name, list(value.shape), from_np_dtype(value.dtype), value))
        if request.from_grpc:
            tensors[-1].set_data_from_numpy(value, binary_data=True)
    return InferResponse(
        request.id or uuid.uuid4().hex,
        request.model_name,
        tensors,
        version.number,
        use_binary_outputs=request.use_binary_outputs,
        requested_outputs=request.request_outputs if not request.from_grpc else None,
    )


def _rows(tensor: InferInput, version: Version, signature: Signature) -> np.ndarray:
    datatype = from_np_dtype(np.dtype(signature.dtype))
    if tensor.datatype != datatype:
        raise ConfigError(f"{tensor.name} must be {datatype}. Received: {tensor.datatype:.20}")
    shape = tuple(tensor.shape)
    version.check(signature, shape)
    if not tensor.data:
        try:
            return tensor.as_numpy()
        except (ValueError, struct.error):
            raise ConfigError(f"{tensor.name}: its bytes are not {datatype} {list(shape)}") from None
    if isinstance(tensor.data[0], list):
        return _array(tensor.data, signature)
    if len(tensor.data) != math.prod(shape):
        raise ConfigError(f"{tensor.name} {list(shape)}: expected {math.prod(shape)} values. Got: {len(tensor.data)}")
    if signature.dtype is object:
        return _objects([_file(one, tensor.name) for one in tensor.data], shape)
    return _pixels(tensor.data, (len(tensor.data),), tensor.name).reshape(shape)


def _infer_request(body: RawRequest) -> InferRequest:
    """Parse a V2 request over HTTP, whose tensors are in its JSON or follow it as bytes.

    KServe's own parser converts the bytes to numbers and text first, which damages JPEG files, and makes an object of
    each error.
    """
    content, length = body.content, body.json_length
    end = len(content) if length is None else int(length) if re.fullmatch("[0-9]{1,10}", length) else -1
    if not 0 <= end <= len(content):
        raise ConfigError(f"{JSON_LENGTH_HEADER}: expected at most {len(content)} bytes. Received: {length:.20}")
    request = _object(content[:end])
    tensors = _checked(request.get("inputs"), list, "inputs")
    if len(tensors) != 1:
        raise ConfigError(f"inputs: expected one tensor. Received: {len(tensors)}")
    parameters = _optional(request, "parameters", dict, {})
    _optional(parameters, "binary_data_output", bool)
    return InferRequest(
        body.model_name,
        [_input(_checked(tensors[0], dict, "inputs"), content[end:])],
        request_id=_optional(request, "id", str),
        raw_inputs=None if tensors[0].get("data") is not None else [content[end:]],
        parameters=parameters,
        request_outputs=[_output(one) for one in _optional(request, "outputs", list, ())] or None,
    )


def _input(one: dict[str, Any], content: bytes) -> InferInput:
    """Return a tensor of a V2 request, all but its values checked; the caller adds values that are bytes."""
    name, datatype = (_checked(one.get(key), str, key) for key in ("name", "datatype"))
    shape = _checked(one.get("shape"), list, "shape")
    if not all(type(size) is int and size >= 0 for size in shape):
        raise ConfigError("shape: expected whole numbers from 0 on")
    data = _optional(one, "data", list)
    size = _optional(_optional(one, "parameters", dict, {}), "binary_data_size", int)
    if (data is None) == (size is None):
        raise ConfigError(f"{name:.50}: expected its values as data, or their number of bytes as binary_data_size")
    if len(content) != (size or 0):
        raise ConfigError(
            f"{name:.50}: expected {size or 0} bytes behind the JSON, whose length {JSON_LENGTH_HEADER} tells. "
            f"Received: {len(content)}"
        )
    if data == []:
        raise ConfigError(f"{name:.50}: there are no values")
    return InferInput(name, shape, datatype, data)


def _output(one: Any) -> RequestedOutput:
    parameters = _optional(_checked(one, dict, "outputs"), "parameters", dict, {})
    _optional(parameters, "binary_data", bool)
    return RequestedOutput(_checked(one.get("name"), str, "name"), parameters)


def _array(clips: Sequence[Any], signature: Signature) -> np.ndarray:
    """Convert a list of clips, which are lists of frames, to a signature's input."""
    name, num_frames = signature.input_name, signature.row_shape[0]
    frames: list[Any] = []
    for clip in clips:
        if len(_checked(clip, list, name)) != num_frames:
            raise ConfigError(f"{name}: expected {num_frames} frames in each clip. Received: {len(clip)}")
        frames += clip
    if signature.dtype is object:
        return _objects([_file(frame, name) for frame in frames], (len(clips), num_frames))
    # One by one: NumPy blocks all other threads while it reads a list.
    pixels = [_pixels(frame, signature.row_shape[1:], name) for frame in frames]
    return np.stack(pixels).reshape(len(clips), *signature.row_shape)


def _objects(files: Sequence[bytes], shape: tuple[int, ...]) -> np.ndarray:
    array = np.empty(len(files), object)
    array[:] = files
    return array.reshape(shape)


def _pixels(values: Any, shape: tuple[int, ...], name: str) -> np.ndarray:
    """Convert nested lists to pixels of a shape, without conversions that lose anything."""
    array = None
    if _has_sizes(values, shape[:2]):
        with contextlib.suppress(ValueError, OverflowError):  # lists of unequal lengths
            array = np.array(values)
    if array is None or array.shape != shape or array.dtype.kind not in "iu" or array.min() < 0 or array.max() > 255:
        raise ConfigError(f"{name}: expected whole numbers from 0 to 255 in lists of sizes {list(shape)}")
    return array.astype(np.uint8)


def _has_sizes(values: Any, sizes: tuple[int, ...]) -> bool:
    if type(values) is not list or len(values) != sizes[0]:
        return False
    return len(sizes) == 1 or all(_has_sizes(one, sizes[1:]) for one in values)


def _file(value: Any, name: str) -> bytes:
    """Return a file's bytes, from bytes (V2 over gRPC), text (V2's JSON) or base 64 (TensorFlow Serving's)."""
    if type(value) is dict and set(value) == {"b64"}:
        text = _checked(value["b64"], str, "b64")
        try:
            return base64.b64decode(text, validate=True)
        except ValueError:
            raise ConfigError(f"{name}: what is under b64 is not base 64") from None
    return value if isinstance(value, bytes) else _checked(value, str, f"{name}, a file").encode()
