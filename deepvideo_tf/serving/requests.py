"""What callers may ask, and how they are answered: TensorFlow Serving's JSON and the V2 inference protocol."""

import base64
import contextlib
import math
import re
import struct
import uuid
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import orjson
from kserve import InferInput, InferOutput, InferRequest, InferResponse
from kserve.protocol.infer_type import RequestedOutput, to_http_parameters
from kserve.utils.numpy_codec import from_np_dtype

from deepvideo_tf.errors import ConfigError
from deepvideo_tf.serving.versions import Signature

DEFAULT_SIGNATURE = "serving_default"
JSON_LENGTH_HEADER = "Inference-Header-Content-Length"  # the V2 protocol's: where JSON ends and binary tensors begin
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
class Body:
    """A request over HTTP, unread.

    Args:
        content: its bytes.
        model_name: the model that is asked, where it is of the V2 protocol; otherwise None.
        json_length: what the header says, where there is one: how many of the bytes are JSON.
    """

    content: bytes
    model_name: str | None = None
    json_length: str | None = None


@dataclass(frozen=True)
class Question:
    """A request that was read and checked.

    Args:
        version: the `Version` that answers.
        signature: its `Signature`.
        rows: what the signature takes.
        reply: from a dict of arrays to what the server sends back.
    """

    version: object
    signature: Signature
    rows: np.ndarray
    reply: Callable


def read_question(body, version):
    """Reads a request of either protocol.

    Sizes are compared with what the signature takes before anything is made of them.

    Args:
        body: `Body`; or `kserve.InferRequest`, of the V2 protocol over gRPC.
        version: the `Version` that is asked.

    Returns:
        `Question`.

    Raises:
        ConfigError: it is not what its protocol or the signature says.
    """
    if isinstance(body, InferRequest):
        return _read_tensors(body, version)
    if body.model_name is None:
        return _read_json(_object(body.content), version)
    return _read_tensors(_infer_request(body), version)


def _object(text):
    try:
        request = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise ConfigError(f"the request is not JSON: {error}") from None
    return _checked(request, dict, "the request")


def _checked(value, kind, what):
    """A value of JSON, if it is of the kind that is expected."""
    if type(value) is not kind:
        raise ConfigError(f"{what}: expected {_KINDS[kind]}. Received: {_KINDS[type(value)]}")
    return value


def _optional(record, key, kind, default=None):
    """What an object has under a key, or the default where it has nothing or null."""
    return default if record.get(key) is None else _checked(record[key], kind, key)


def _read_json(body, version):
    """TensorFlow Serving's `{"signature_name": ..., "instances": [...]}`, or `inputs` for all rows in one."""
    kinds = {"instances", "inputs"} & set(body)
    if len(kinds) != 1 or set(body) - {"signature_name", "instances", "inputs"}:
        raise ConfigError(f"expected instances or inputs, and if need be signature_name. Received: {_keys(body)}")
    signature = version.signature(_optional(body, "signature_name", str, DEFAULT_SIGNATURE))
    name, by_row = signature.input_name, kinds == {"instances"}
    values = _checked(body["instances"] if by_row else _named(body["inputs"], name), list, name)
    version.check(signature, (len(values), *signature.row_shape))
    rows = _array([_named(row, name) for row in values] if by_row else values, signature)
    return Question(version, signature, rows, _json_rows if by_row else _json_columns)


def _keys(record):
    return f"{', '.join(record) or 'nothing':.100}"


def _named(value, name):
    """A value that may stand under its input's name."""
    if not isinstance(value, dict) or set(value) == {"b64"}:
        return value
    if set(value) != {name}:
        raise ConfigError(f"expected the input {name}. Received: {_keys(value)}")
    return value[name]


def _json_columns(outputs):
    outputs = {name: _plain(value) for name, value in outputs.items()}
    return {"outputs": next(iter(outputs.values())) if len(outputs) == 1 else outputs}


def _json_rows(outputs):
    columns = [_plain(value) for value in outputs.values()]
    rows = zip(*columns, strict=True)
    return {"predictions": [row[0] if len(row) == 1 else dict(zip(outputs, row, strict=True)) for row in rows]}


def _plain(array):
    return np.char.decode(array.astype(bytes), "utf-8").tolist() if array.dtype == object else array.tolist()


def _read_tensors(request, version):
    """The V2 protocol's tensors; its parameter `signature_name` chooses the signature."""
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
    return Question(version, signature, rows, lambda outputs: _tensors(request, version, outputs, wanted or outputs))


def _tensors(request, version, outputs, wanted):
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


def _rows(tensor, version, signature):
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


def _infer_request(body):
    """A V2 request over HTTP, whose tensors are in its JSON or follow it as bytes.

    KServe's own readers make Python's numbers and text of the bytes first, which no JPEG file survives, and an object
    of each error.
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


def _input(one, content):
    """A tensor of a V2 request, checked but for its values, which the caller puts in where they are bytes."""
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


def _output(one):
    parameters = _optional(_checked(one, dict, "outputs"), "parameters", dict, {})
    _optional(parameters, "binary_data", bool)
    return RequestedOutput(_checked(one.get("name"), str, "name"), parameters)


def _array(clips, signature):
    """Lists of clips, which are lists of frames, as an array of what a signature takes."""
    name, num_frames = signature.input_name, signature.row_shape[0]
    frames = []
    for clip in clips:
        if len(_checked(clip, list, name)) != num_frames:
            raise ConfigError(f"{name}: expected {num_frames} frames in each clip. Received: {len(clip)}")
        frames += clip
    if signature.dtype is object:
        return _objects([_file(frame, name) for frame in frames], (len(clips), num_frames))
    # One by one: NumPy lets no other thread run while it reads a list.
    pixels = [_pixels(frame, signature.row_shape[1:], name) for frame in frames]
    return np.stack(pixels).reshape(len(clips), *signature.row_shape)


def _objects(files, shape):
    array = np.empty(len(files), object)
    array[:] = files
    return array.reshape(shape)


def _pixels(values, shape, name):
    """Nested lists of a shape as pixels, refusing what would have to be guessed."""
    array = None
    if _has_sizes(values, shape[:2]):
        with contextlib.suppress(ValueError, OverflowError):  # lists of unequal lengths
            array = np.array(values)
    if array is None or array.shape != shape or array.dtype.kind not in "iu" or array.min() < 0 or array.max() > 255:
        raise ConfigError(f"{name}: expected whole numbers from 0 to 255 in lists of sizes {list(shape)}")
    return array.astype(np.uint8)


def _has_sizes(values, sizes):
    if type(values) is not list or len(values) != sizes[0]:
        return False
    return len(sizes) == 1 or all(_has_sizes(one, sizes[1:]) for one in values)


def _file(value, name):
    """The bytes of a file: as they are (V2 over gRPC), as text (V2's JSON), or in base 64 (TensorFlow Serving's)."""
    if type(value) is dict and set(value) == {"b64"}:
        text = _checked(value["b64"], str, "b64")
        try:
            return base64.b64decode(text, validate=True)
        except ValueError:
            raise ConfigError(f"{name}: what is under b64 is not base 64") from None
    return value if isinstance(value, bytes) else _checked(value, str, f"{name}, a file").encode()
