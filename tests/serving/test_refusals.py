"""Bad requests are refused with a clear reason, and none is a 500."""

import contextlib
import gzip
import json
import re
import threading
import time

import grpc
import numpy as np
import pytest

from tests.support.client import (
    JSON,
    JSON_LENGTH,
    MAX_REQUEST_BYTES,
    NAME,
    column,
    pb,
    raw_bytes,
    resident_mib,
    tensor,
    v2_body,
)


def bad_json():
    """By what is wrong with it, the body of a request in TensorFlow Serving's shape."""
    clip = np.zeros((10, 32, 32, 3), int).tolist()
    yield "not JSON", b"{"
    yield "no text", b"\xff\xfe"
    yield "empty", b""
    yield "deep", b"[" * 100_000
    yield "a list", b"[]"
    yield "a number", b"7"
    for depth in (100, 500, 1000):
        lists = b"[" * depth + b'"x"' + b"]" * depth
        yield f"files {depth} deep", b'{"signature_name": "serve_encoded", "instances": %s}' % lists
        yield f"clips {depth} deep", b'{"instances": [%s]}' % lists
        yield f"a signature {depth} deep", b'{"signature_name": %s, "instances": []}' % lists
    for what, request in {
        "no instances": {},
        "both": {"instances": [clip], "inputs": [clip]},
        "instances no list": {"instances": 7},
        "inputs of another name": {"inputs": {"video": [clip]}},
        "rows of another name": {"instances": [{"video": clip}]},
        "unknown key": {"instances": [clip], "colour": 1},
        "unknown signature": {"signature_name": "nothing", "instances": [clip]},
        "a signature that is no text": {"signature_name": [1], "instances": [clip]},
        "no clips": {"instances": []},
        "too many clips": {"instances": np.zeros((9, 10, 32, 32, 3), int).tolist()},
        "nine frames": {"instances": [clip[:9]]},
        "ragged": {"instances": [[*clip[:9], [[0]]]]},
        "floats": {"instances": [np.zeros((10, 32, 32, 3)).tolist()]},
        "300": {"instances": [np.full((10, 32, 32, 3), 300).tolist()]},
        "minus one": {"instances": [np.full((10, 32, 32, 3), -1).tolist()]},
        "text": {"instances": [np.full((10, 32, 32, 3), "1").tolist()]},
        "booleans": {"instances": [np.full((10, 32, 32, 3), True).tolist()]},
        "null": {"instances": [None]},
        "a huge number": {"instances": [10**400]},
        "not base 64": {"signature_name": "serve_encoded", "instances": [[{"b64": "?"}] * 10]},
        "base 64 of nothing": {"signature_name": "serve_encoded", "instances": [[{"b64": ""}] * 10]},
        "base 64 of a number": {"signature_name": "serve_encoded", "instances": [[{"b64": 7}] * 10]},
        "an object for a file": {"signature_name": "serve_encoded", "instances": [[{"b32": "x"}] * 10]},
        "ragged files": {"signature_name": "serve_encoded", "instances": [[["x"]] * 10, ["x"] * 10]},
        "a clip and no clip of files": {"signature_name": "serve_encoded", "instances": [["x"] * 10, "x"]},
        "many clips of nothing": {"instances": [[]] * 1_000_000},
        "many files of nothing": {"signature_name": "serve_encoded", "instances": [[""] * 500_000]},
        "numbers for files": {"signature_name": "serve_encoded", "instances": [[1] * 10]},
        "nine files": {"signature_name": "serve_encoded", "instances": [["x"] * 9]},
        "files that are no files": {"signature_name": "serve_encoded", "instances": [["x"] * 10]},
    }.items():
        yield what, json.dumps(request).encode()


def check_refusal(status, answer):
    """It tells what is wrong, in words that are not Python's."""
    assert status == 400, answer
    assert 10 < len(answer["error"]) < 500
    assert not re.search("[A-Z][a-z]+Error|<class|NoneType|'str'|'int'", answer["error"])


@pytest.mark.parametrize(("what", "body"), list(bad_json()), ids=lambda value: value if isinstance(value, str) else "")
def test_bad_json_is_refused_with_a_reason(server, what, body):
    check_refusal(*server.call("POST", f"/v1/models/{NAME}:predict", body))


def bad_tensors():
    clip = np.zeros((1, 10, 32, 32, 3), np.uint8)
    request, contents = tensor(clip)
    (one,) = request["inputs"]
    data = {"name": "clip", "datatype": "UINT8", "shape": list(clip.shape), "data": clip.ravel().tolist()}
    yield "wrong type", {"inputs": [one | {"datatype": "FP32"}]}, contents
    yield "unknown type", {"inputs": [one | {"datatype": "COMPLEX"}]}, contents
    yield "wrong shape", {"inputs": [one | {"shape": [1, 10, 32, 32, 4]}]}, contents
    yield "a shape of text", {"inputs": [one | {"shape": "x"}]}, contents
    yield "a shape that fits and is wrong", {"inputs": [one | {"shape": [10, 1, 32, 32, 3]}]}, contents
    yield "a huge shape", {"inputs": [one | {"shape": [2**62, 2**62]}]}, contents
    yield "unknown name", {"inputs": [one | {"name": "video"}]}, contents
    yield "a name of another kind", {"inputs": [one | {"name": 7}]}, contents
    yield "two inputs", {"inputs": [one, one]}, contents + contents
    yield "no inputs", {"inputs": []}, contents
    yield "inputs of another kind", {"inputs": 3}, contents
    yield "no object", [1], contents
    yield "unknown output", request | {"outputs": [{"name": "nothing"}]}, contents
    yield "unknown signature", request | {"parameters": {"signature_name": "nothing"}}, contents
    yield "pixels for files", request | {"parameters": {"signature_name": "serve_encoded"}}, contents
    yield "parameters of another kind", request | {"parameters": 7}, contents
    yield "a number for an id", request | {"id": 5}, contents
    yield "an object for an id", request | {"id": {}}, contents
    yield (
        "an output's parameters of another kind",
        request | {"outputs": [{"name": "scores", "parameters": 7}]},
        contents,
    )
    as_bytes = {"name": "scores", "parameters": {"binary_data": [1]}}
    yield "an output's parameter of another kind", request | {"outputs": [as_bytes]}, contents
    yield "a parameter of another kind", request | {"parameters": {"binary_data_output": "x"}}, contents
    yield "an output twice", request | {"outputs": [{"name": "scores"}] * 2}, contents
    yield "outputs of another kind", request | {"outputs": [7]}, contents
    yield "an input of another kind", {"inputs": [7]}, contents
    yield "a negative shape", {"inputs": [one | {"shape": [-1, 10, 32, 32, 3]}]}, contents
    yield "a nested shape", {"inputs": [one | {"shape": [[1]]}]}, contents
    yield "too few bytes", request, contents[:-1]
    yield "too many bytes", request, contents + b"x"
    yield "a negative size", {"inputs": [one | {"parameters": {"binary_data_size": -5}}]}, contents
    yield "a size of text", {"inputs": [one | {"parameters": {"binary_data_size": "x"}}]}, contents
    yield "JSON without data", {"inputs": [{"name": "clip", "datatype": "UINT8", "shape": [1]}]}, b""
    yield "JSON of floats", {"inputs": [data | {"data": [0.5] * clip.size}]}, b""
    yield "JSON of 300", {"inputs": [data | {"data": [300] * clip.size}]}, b""
    yield "JSON that is too short", {"inputs": [data | {"data": [1]}]}, b""
    yield "JSON, empty", {"inputs": [data | {"data": []}]}, b""
    yield "JSON, half precision", {"inputs": [data | {"datatype": "FP16"}]}, b""
    frames = np.full((1, 10), b"x", object)
    encoded = {"parameters": {"signature_name": "serve_encoded"}}
    data = {"name": "frames", "datatype": "BYTES", "shape": [2, 10]}
    yield "ragged files", encoded | {"inputs": [data | {"data": [[["x"]] * 10, ["x"] * 10]}]}, b""
    for depth in (100, 400):
        deep = json.loads("[" * depth + '"x"' + "]" * depth)
        yield f"files {depth} deep", encoded | {"inputs": [data | {"shape": [1, 10], "data": deep}]}, b""
    yield "many files of nothing", encoded | {"inputs": [data | {"data": [""] * 1_000_000}]}, b""
    request, contents = tensor(frames)
    yield "no JPEG files", request | encoded, contents
    lengths = (2**32 - 1).to_bytes(4, "little") * 10
    request, contents = tensor(frames, parameters={"binary_data_size": len(lengths)})
    yield "files longer than the request", request | encoded, lengths


@pytest.mark.parametrize(
    ("what", "request_", "contents"), list(bad_tensors()), ids=lambda value: value if isinstance(value, str) else ""
)
def test_bad_tensors_are_refused_with_a_reason(server, what, request_, contents):
    check_refusal(*server.infer(request_, contents))


def test_bodies_of_many_mistakes(server):
    """An object of each of them would be a thousand times the body."""
    before_mib = resident_mib(server.process, "VmHWM")
    for start, one, end in ((b'{"inputs":[', b"{},", b"{}]}"), (b'{"inputs":[', b"1,", b"1]}")):
        count = (MAX_REQUEST_BYTES - 100) // len(one)
        check_refusal(*server.call("POST", f"/v2/models/{NAME}/infer", start + one * count + end))
    parameters = json.dumps({"inputs": [], "parameters": {str(number): [] for number in range(200_000)}})
    check_refusal(*server.call("POST", f"/v2/models/{NAME}/infer", parameters))
    assert resident_mib(server.process, "VmHWM") < before_mib + 400


def test_bad_bodies_and_addresses(server, clips):
    body, headers = v2_body(*tensor(clips))
    infer, predict = f"/v2/models/{NAME}/infer", f"/v1/models/{NAME}:predict"
    for length in ("x", "-1", str(len(body) + 1), "", "1" * 5000):
        assert server.call("POST", infer, body, headers | {JSON_LENGTH: length})[0] == 400
    assert server.call("POST", infer, b"\xff\xfe{")[0] == 400
    assert server.call("POST", infer, b"[" * 100_000)[0] == 400
    assert server.call("POST", infer, b"\xff\xfe{", {"Content-Type": "application/octet-stream"})[0] == 400
    assert server.call("POST", predict, body, {"Content-Type": "application/octet-stream"})[0] == 400
    for path in (infer, predict):
        check_refusal(*server.call("POST", path, b""))
        check_refusal(*server.call("POST", path, b"\xff\xfe{", {"Content-Type": "application/x-www-form-urlencoded"}))
        status, answer = server.call("POST", path, gzip.compress(b"{}"), JSON | {"Content-Encoding": "gzip"})
        assert (status, "Content-Encoding" in answer["error"]) == (415, True)
    events = {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "x", "ce-type": "x"}
    assert server.call("POST", predict, b"x", JSON | events)[0] == 400
    assert server.call("POST", f"/v1/models/{NAME}:explain", b"{}")[0] == 400
    assert server.call("POST", "/v1/models/other:predict", b"{}")[0] == 404
    assert server.call("POST", "/v2/models/other/infer", *v2_body(*tensor(clips)))[0] == 404
    assert server.call("GET", predict)[0] == 404
    assert server.call("POST", f"/v2/repository/models/{NAME}/unload")[0] == 400
    assert server.infer(*tensor(clips))[0] == 200


def test_truncated_and_monstrous_jpegs(server, frames, of_frames):
    """Also that others whose clips share a batch with a bad one are answered."""
    monster = bytearray(frames[0, 0])
    place = monster.index(b"\xff\xc0") + 5
    monster[place : place + 4] = (60_000).to_bytes(2, "big") * 2
    bad = [
        np.array([[*frames[0, :9], one]], object) for one in (frames[0, 0][:-30], frames[0, 0][:100], bytes(monster))
    ]
    bodies = []
    for rows in [*bad, *frames[:, None]] * 4:
        request, contents = tensor(rows)
        bodies.append(v2_body(request | {"parameters": {"signature_name": "serve_encoded"}}, contents))
    answers = [None] * len(bodies)

    def ask(number):
        answers[number] = server.call("POST", f"/v2/models/{NAME}/infer", *bodies[number])

    for start in range(0, len(bodies), 6):  # six clips: all of them find room
        threads = [threading.Thread(target=ask, args=(number,)) for number in range(start, start + 6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for status, answer in answers[start : start + 3]:
            assert status == 400
            assert answer["error"].startswith("frames: ")
        for (status, answer), expected in zip(answers[start + 3 : start + 6], of_frames, strict=True):
            assert status == 200, answer
            np.testing.assert_allclose(column(answer, "probabilities")[0], expected, atol=1e-5)


def test_bodies_of_100_megabytes(server, clips):
    def chunks():
        for _ in range(100):
            yield b"0" * 1_000_000

    for body in (b"0" * 100_000_000, chunks()):
        status, answer = server.call("POST", f"/v1/models/{NAME}:predict", body)
        assert status == 413
        assert str(MAX_REQUEST_BYTES) in answer["error"]
    with pytest.raises(grpc.RpcError) as refused:
        server.infer_grpc(clips, raw=b"0" * 100_000_000)
    assert refused.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert server.infer(*tensor(clips))[0] == 200


def test_bad_grpc_requests_are_refused_with_a_reason(server, clips, frames):
    for changes in (
        {"datatype": "FP32"}, {"datatype": "COMPLEX"}, {"shape": [1]}, {"shape": [-2, 3]}, {"name": "video"},
        {"shape": [3, 10, 32, 32, 1]}, {"signature": "nothing"}, {"signature": "serve_encoded"}, {"raw": b"x"},
    ):  # fmt: skip
        with pytest.raises(grpc.RpcError) as refused:
            server.infer_grpc(clips, **changes)
        assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT, changes
        assert len(refused.value.details()) > 10
    with pytest.raises(grpc.RpcError, match="frames: ") as refused:
        server.infer_grpc(frames, signature="serve_encoded", raw=raw_bytes(np.full(frames.shape, b"x", object)))
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    for call, request in (
        (server.stub.RepositoryModelUnload, pb.RepositoryModelUnloadRequest(model_name=NAME)),
        (server.stub.ModelInfer, pb.ModelInferRequest(model_name=NAME)),
        (server.stub.ModelInfer, pb.ModelInferRequest(model_name=NAME, raw_input_contents=[b"x"])),
    ):
        with pytest.raises(grpc.RpcError) as refused:
            call(request)
        assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    with pytest.raises(grpc.RpcError) as refused:
        server.channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")(b"\xff" * 3)
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    with pytest.raises(grpc.RpcError) as refused:
        server.stub.ModelInfer(pb.ModelInferRequest(model_name="other"))
    assert refused.value.code() == grpc.StatusCode.NOT_FOUND


def test_open_calls_over_grpc_are_limited(server):
    """Each of them may hold as much memory as a request may be long."""
    opened = threading.Event()

    def no_message():
        opened.wait()
        yield from ()

    open_call = server.channel.stream_unary("/inference.GRPCInferenceService/ModelInfer").future
    calls = [open_call(no_message(), timeout=60) for _ in range(16)]
    code = None
    for _ in range(100):
        try:
            server.stub.ServerLive(pb.ServerLiveRequest())
            time.sleep(0.1)
        except grpc.RpcError as refused:
            code = refused.code()
            break
    opened.set()
    for call in calls:
        call.cancel()
    assert code == grpc.StatusCode.RESOURCE_EXHAUSTED
    for _ in range(100):
        with contextlib.suppress(grpc.RpcError):
            assert server.stub.ServerLive(pb.ServerLiveRequest()).live
            break
        time.sleep(0.1)
    else:
        pytest.fail("the places of calls that have gone were not given back")


def test_nothing_above_was_a_500(server):
    """Runs after the others of this file: the server is the same, alive, and its log tells of no defect."""
    assert server.predict({})[0] == 400
    text = server.call("GET", "/metrics")[1].decode()
    assert 'deepvideo_http_responses_total{status="400"}' in text
    assert 'deepvideo_http_responses_total{status="5' not in text
    assert "Traceback" not in server.log()
    assert server.process.poll() is None
