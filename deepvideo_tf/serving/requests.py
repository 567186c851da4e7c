"""What callers may ask, and how they are answered: TensorFlow Serving's JSON and the V2 inference protocol."""

import base64
import struct
import uuid
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import orjson
from kserve import InferInput, InferOutput, InferRequest, InferResponse
from kserve.protocol.infer_type import RequestedOutput, to_http_parameters
from kserve.utils.numpy_codec import from_np_dtype

from deepvideo_tf.errors import ConfigError, first_line
from deepvideo_tf.serving.versions import Signature

DEFAULT_SIGNATURE = "serving_default"
JSON_LENGTH_HEADER = "inference-header-content-length"  # the V2 protocol's: where JSON ends and binary tensors begin
# What NumPy, struct and dictionaries raise where a request is not what it should be.
_MALFORMED = (ValueError, TypeError, KeyError, AttributeError, IndexError, OverflowError, struct.error)


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

    Args:
        body: TensorFlow Serving's JSON, a dict; or `kserve.InferRequest`, of the V2 protocol.
        version: the `Version` that is asked.

    Returns:
        `Question`.

    Raises:
        ConfigError: it is not what its protocol or the signature says.
    """
    read = _read_tensors if isinstance(body, InferRequest) else _read_json
    try:
        question = read(body, version)
    except ConfigError:
        raise
    except _MALFORMED as error:
        raise ConfigError(f"the request cannot be read: {type(error).__name__}: {first_line(error)}") from None
    version.check(question.signature, question.rows)
    return question


def _read_json(body, version):
    """TensorFlow Serving's `{"signature_name": ..., "instances": [...]}`, or `inputs` for all rows in one."""
    kinds = {"instances", "inputs"} & set(body)
    if len(kinds) != 1 or set(body) - {"signature_name", "instances", "inputs"}:
        keys = ", ".join(map(str, body))
        raise ConfigError(f"expected instances or inputs, and if need be signature_name. Received: {keys:.100}")
    signature = version.signature(body.get("signature_name", DEFAULT_SIGNATURE))
    name, by_row = signature.input_name, kinds == {"instances"}
    values = body["instances"] if by_row else _named(body["inputs"], name)
    if not isinstance(values, list):
        raise ConfigError(f"instances or inputs: expected a list of {name}. Received: {type(values).__name__}")
    rows = _array([_named(row, name) for row in values] if by_row else values, signature)
    return Question(version, signature, rows, _json_rows if by_row else _json_columns)


def _named(value, name):
    """A value that may stand under its input's name."""
    if not isinstance(value, dict) or set(value) == {"b64"}:
        return value
    if set(value) != {name}:
        raise ConfigError(f"expected the input {name}. Received: {', '.join(map(str, value)):.100}")
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
    signature = version.signature(parameters.get("signature_name", DEFAULT_SIGNATURE))
    if [tensor.name for tensor in request.inputs] != [signature.input_name]:
        names = ", ".join(str(tensor.name) for tensor in request.inputs)
        raise ConfigError(f"{signature.name} takes the input {signature.input_name}. Received: {names:.100}")
    (tensor,) = request.inputs
    datatype = from_np_dtype(np.dtype(signature.dtype))
    if tensor.datatype != datatype:
        raise ConfigError(f"{tensor.name} must be {datatype}. Received: {tensor.datatype:.20}")
    rows = _array(tensor.data, signature).reshape(tensor.shape) if tensor.data else tensor.as_numpy()
    wanted = [output.name for output in request.request_outputs or ()]
    if set(wanted) - set(signature.outputs):
        raise ConfigError(f"{signature.name} gives {', '.join(signature.outputs)}. Wanted: {', '.join(wanted):.100}")

    def reply(outputs):
        tensors = []
        for name in wanted or outputs:
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

    return Question(version, signature, rows, reply)


def read_binary_tensors(body, json_length, model_name):
    """Reads a V2 request whose tensors follow its JSON as bytes.

    KServe's own reader makes Python's numbers and text of them first, which no JPEG file survives.

    Args:
        body: the request's bytes.
        json_length: how many of them are JSON, as the header says.
        model_name: the model that is asked.

    Returns:
        `kserve.InferRequest`.

    Raises:
        ConfigError: it is not what the protocol says.
    """
    try:
        end = int(json_length)
        if not 0 <= end <= len(body):
            raise ConfigError(f"{JSON_LENGTH_HEADER}: expected at most {len(body)}. Received: {end}")
        request = orjson.loads(body[:end])
        inputs, contents = [], []
        for one in request["inputs"]:
            start, end = end, end + one["parameters"]["binary_data_size"]
            if not start <= end <= len(body):
                raise ConfigError(f"the bytes of {one['name']!r:.50} do not end where the request does")
            inputs.append(InferInput(one["name"], one["shape"], one["datatype"]))
            contents.append(body[start:end])
        if end != len(body):
            raise ConfigError(f"{len(body) - end} bytes follow the last tensor")
        outputs = [RequestedOutput(one["name"], one.get("parameters")) for one in request.get("outputs") or ()]
        return InferRequest(
            model_name,
            inputs,
            request_id=request.get("id"),
            raw_inputs=contents,
            parameters=request.get("parameters"),
            request_outputs=outputs or None,
        )
    except ConfigError:
        raise
    except _MALFORMED as error:
        raise ConfigError(f"the request cannot be read: {type(error).__name__}: {first_line(error)}") from None


def _array(values, signature):
    """Nested lists as an array of what a signature takes, refusing what would have to be guessed."""
    if signature.dtype is object:
        return np.array([_files(clip) for clip in values], object)
    array = np.array(values)
    if array.dtype.kind not in "iu" or not array.size or array.min() < 0 or array.max() > 255:
        raise ConfigError(f"{signature.input_name}: expected whole numbers from 0 to 255 in lists of equal lengths")
    return array.astype(signature.dtype)


def _files(clip):
    return [_files(one) for one in clip] if isinstance(clip, list) else _file(clip)


def _file(value):
    """The bytes of a file: as they are (V2 over gRPC), as text (V2's JSON), or in base 64 (TensorFlow Serving's)."""
    if isinstance(value, dict):
        return base64.b64decode(value["b64"], validate=True)
    return value if isinstance(value, bytes) else value.encode()
