"""The server as its callers see it: right answers, clear refusals, and no more than it can do."""

import base64
import contextlib
import gzip
import json
import re
import shutil
import signal
import threading
import time
from collections import Counter

import grpc
import numpy as np
import pytest
import tensorflow as tf

import deepvideo_tf as dv
from tests.support.client import (
    JSON,
    JSON_LENGTH,
    NAME,
    Server,
    load,
    num_threads,
    outputs_of,
    pb,
    raw_bytes,
    resident_mib,
    tensor,
    v2_body,
)
from tests.support.files import flip_a_bit

MAX_REQUEST_BYTES = 4 << 20


@pytest.fixture(scope="module")
def export_dir(small_run, tmp_path_factory):
    path = tmp_path_factory.mktemp("exports") / NAME
    dv.export_saved_model(small_run, path)
    return path


@pytest.fixture(scope="module")
def server(export_dir, tmp_path_factory):
    flags = f"--max_request_bytes={MAX_REQUEST_BYTES}", "--max_batch_clips=8"
    with Server(export_dir, tmp_path_factory.mktemp("log") / "serve.log", *flags) as server:
        yield server


@pytest.fixture(scope="module")
def predictor(export_dir):
    return dv.load_predictor(export_dir)


@pytest.fixture(scope="module")
def clips():
    return np.random.default_rng(0).integers(0, 256, (3, 10, 32, 32, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def frames(clips):
    """The same as JPEG files, enlarged to the size of stored frames."""
    jpeg = [[tf.io.encode_jpeg(np.pad(one, ((2, 2), (2, 2), (0, 0)))).numpy() for one in clip] for clip in clips]
    return np.array(jpeg, object)


@pytest.fixture(scope="module")
def of_frames(export_dir, frames):
    """What the SavedModel itself says of the JPEG files."""
    loaded = tf.saved_model.load(str(export_dir / "1"))
    return loaded.signatures["serve_encoded"](frames=tf.constant(frames))["probabilities"].numpy()


def column(response, name):
    (output,) = (output for output in response["outputs"] if output["name"] == name)
    return np.reshape(output["data"], output["shape"])


def test_tensorflow_servings_rest_shape(server, predictor, clips):
    expected = predictor.probabilities(clips)
    status, answer = server.predict({"instances": clips.tolist()})
    assert status == 200
    np.testing.assert_allclose([row["probabilities"] for row in answer["predictions"]], expected, atol=1e-5)
    assert [row["classes"][0] for row in answer["predictions"]] == [
        predictor.card.classes[number] for number in expected.argmax(1)
    ]
    for request in ({"instances": [{"clip": clip} for clip in clips.tolist()]}, {"inputs": {"clip": clips.tolist()}}):
        status, other = server.predict({"signature_name": "serving_default"} | request)
        assert status == 200
        rows = (
            other["outputs"]["probabilities"]
            if "inputs" in request
            else [row["probabilities"] for row in other["predictions"]]
        )
        np.testing.assert_allclose(rows, expected, atol=1e-5)
    status, answer = server.predict({"signature_name": "features", "instances": clips.tolist()})
    assert status == 200
    assert np.shape(answer["predictions"]) == (3, 205)


def test_encoded_frames_over_all_protocols(server, frames, of_frames):
    in_64 = [[{"b64": base64.b64encode(frame).decode()} for frame in clip] for clip in frames]
    status, answer = server.predict({"signature_name": "serve_encoded", "instances": in_64})
    assert status == 200
    np.testing.assert_allclose([row["probabilities"] for row in answer["predictions"]], of_frames, atol=1e-5)
    request, contents = tensor(frames)
    status, answer = server.infer(request | {"parameters": {"signature_name": "serve_encoded"}}, contents)
    assert status == 200, answer
    np.testing.assert_allclose(column(answer, "probabilities"), of_frames, atol=1e-5)
    answer = outputs_of(server.infer_grpc(frames, signature="serve_encoded"))
    np.testing.assert_allclose(answer["probabilities"], of_frames, atol=1e-5)


def test_the_v2_protocol_over_http(server, predictor, clips):
    expected = predictor.probabilities(clips)
    as_json = {
        "inputs": [{"name": "clip", "datatype": "UINT8", "shape": list(clips.shape), "data": clips.ravel().tolist()}]
    }
    nested = {"inputs": [as_json["inputs"][0] | {"data": clips.tolist()}]}
    for request, contents in ((as_json, b""), (nested, b""), tensor(clips)):
        status, answer = server.infer(request | {"id": "seven"}, contents)
        assert status == 200, answer
        assert (answer["id"], answer["model_name"], answer["model_version"]) == ("seven", NAME, "1")
        np.testing.assert_allclose(column(answer, "probabilities"), expected, atol=1e-5)
    request, contents = tensor(clips)
    wanted = {"name": "probabilities", "parameters": {"binary_data": True}}
    status, answer = server.infer(request | {"outputs": [wanted]}, contents)
    assert status == 200
    np.testing.assert_allclose(np.frombuffer(answer[-expected.nbytes :], np.float32), expected.ravel(), atol=1e-5)


def test_the_v2_protocol_whatever_the_content_type(server, clips):
    """As what curl says of bodies where it is told nothing, and with none."""
    as_json = {"inputs": [{"name": "clip", "datatype": "UINT8", "shape": list(clips.shape), "data": clips.tolist()}]}
    for request, contents in ((as_json, b""), tensor(clips)):
        body, headers = v2_body(request, contents)
        headers.pop("Content-Type", None)
        for kind in ({}, JSON, {"Content-Type": "application/x-www-form-urlencoded"}):
            status, answer = server.call("POST", f"/v2/models/{NAME}/infer", body, dict(headers) | kind)
            assert status == 200, answer


def test_versions_in_addresses(server, clips):
    body, headers = v2_body(*tensor(clips))
    model = f"/v2/models/{NAME}/versions"
    status, answer = server.call("POST", f"{model}/1/infer", body, headers)
    assert (status, answer["model_version"]) == (200, "1")
    assert server.call("GET", f"{model}/1/ready")[0] == 200
    assert server.call("GET", f"{model}/1")[1]["inputs"][0]["name"] == "clip"
    for path in (f"{model}/7", f"{model}/7/ready", f"{model}/x", "/v2/models/other/versions/1"):
        status, answer = server.call("GET", path)
        assert (status, list(answer)) == (404, ["error"])
    assert server.call("POST", f"{model}/7/infer", body, headers)[0] == 404
    assert server.stub.ModelReady(pb.ModelReadyRequest(name=NAME, version="1")).ready
    calls = (
        (server.stub.ModelInfer, pb.ModelInferRequest(model_name=NAME, model_version="7")),
        (server.stub.ModelReady, pb.ModelReadyRequest(name=NAME, version="7")),
        (server.stub.ModelMetadata, pb.ModelMetadataRequest(name=NAME, version="7")),
    )
    for call, request in calls:
        with pytest.raises(grpc.RpcError) as refused:
            call(request)
        assert refused.value.code() == grpc.StatusCode.NOT_FOUND


def test_the_v2_protocol_over_grpc(server, predictor, clips):
    response = server.infer_grpc(clips)
    assert response.model_version == "1"
    np.testing.assert_allclose(outputs_of(response)["probabilities"], predictor.probabilities(clips), atol=1e-5)
    metadata = server.stub.ModelMetadata(pb.ModelMetadataRequest(name=NAME))
    assert [(one.name, one.datatype, list(one.shape)) for one in metadata.inputs] == [
        ("clip", "UINT8", [-1, 10, 32, 32, 3])
    ]


def test_metrics(server, clips):
    before = server.metric('request_predict_seconds_count{model_name="net"}')
    assert server.infer(*tensor(clips))[0] == 200
    assert server.metric('request_predict_seconds_count{model_name="net"}') == before + 1
    assert server.metric('deepvideo_http_responses_total{status="200"}') > 0
    assert server.metric("deepvideo_model_version") == 1
    assert server.metric("deepvideo_pending_clips") == 0


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


def check_answers(answers, clips, predict):
    """Counts answers by status; those with 200 are right, and of the version that they name."""
    for status, _, content in answers:
        if status == 200:
            response = json.loads(content)
            expected = predict[response["model_version"]](clips)
            np.testing.assert_allclose(column(response, "probabilities"), expected, atol=1e-5)
    return Counter(status for status, *_ in answers)


def test_more_than_it_can_do(export_dir, clips, tmp_path):
    """Thirty callers without a pause, where two batches find room: the others are told so at once."""
    rows = np.repeat(clips, 3, axis=0)[:8]
    expected = dv.load_predictor(export_dir).probabilities(rows)
    with Server(export_dir, tmp_path / "serve.log") as server:
        body, headers = v2_body(*tensor(rows))
        load(server, body, headers, seconds=1, callers=30)
        before_mib = resident_mib(server.process)
        answers = load(server, body, headers, seconds=4, callers=30)
        assert resident_mib(server.process) < before_mib + 50
        assert check_answers(answers, rows, {"1": lambda _: expected}).keys() == {200, 503}
        refused = [(seconds, json.loads(content)) for status, seconds, content in answers if status == 503]
        assert refused[0][1] == {"error": "the server is busy: try again later"}
        assert np.median([seconds for seconds, _ in refused]) < 1  # not those of a busy machine, which may be slow
        assert server.metric("deepvideo_refused_requests_total") >= len(refused)
        assert server.metric("deepvideo_pending_clips") == 0
        assert num_threads(server.process) < 60
        calls = [server.infer_grpc_later(rows) for _ in range(30)]
        codes = Counter(call.code() for call in calls)  # waits for each
        assert codes[grpc.StatusCode.OK] > 0
        assert codes.keys() <= {grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED}
        assert server.infer(*tensor(rows))[0] == 200


def test_sigterm_ends_what_was_accepted(export_dir, clips, tmp_path):
    """Under load of both protocols: as many answers came as requests were accepted."""
    with Server(export_dir, tmp_path / "serve.log") as server:
        by_grpc = []

        def ask_over_grpc():
            while not by_grpc or by_grpc[-1] == grpc.StatusCode.OK:
                by_grpc.append(server.infer_grpc_later(clips).code())

        threads = [threading.Thread(target=ask_over_grpc), threading.Timer(2, server.process.terminate)]
        for thread in threads:
            thread.start()
        answers = load(server, *v2_body(*tensor(clips)), seconds=5, callers=4)
        for thread in threads:
            thread.join()
        assert server.process.wait(60) == 0, server.log()
    statuses = Counter(status for status, *_ in answers)
    assert not {status for status in statuses if isinstance(status, int)} - {200, 503}
    # Refused: gRPC cancels a request that reaches it while it stops. It was not accepted, or the numbers would differ.
    assert by_grpc.pop() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
    last_line = server.log().splitlines()[-1]
    assert last_line == f"Stopped: {statuses[200] + len(by_grpc)} requests were accepted and answered"
    assert "Traceback" not in server.log()


def test_a_new_version_is_picked_up_without_a_failed_request(small_run, export_dir, clips, tmp_path):
    """Then one that is damaged is told of and left alone, and going back is deleting."""
    versions = tmp_path / NAME
    shutil.copytree(export_dir, versions)
    other = dv.export_saved_model(small_run, tmp_path / "other", precision="bfloat16")
    expected = {
        "1": dv.load_predictor(export_dir / "1").probabilities(clips),
        "2": dv.load_predictor(other).probabilities(clips),
    }
    assert np.abs(expected["1"] - expected["2"]).max() > 1e-4
    predict = {number: lambda _, rows=rows: rows for number, rows in expected.items()}
    request = v2_body(*tensor(clips))
    with Server(versions, tmp_path / "serve.log") as server:
        assert json.loads(load(server, *request, seconds=0.1)[-1][2])["model_version"] == "1"

        def publish():
            shutil.copytree(other, versions / ".unfinished")
            (versions / ".unfinished").rename(versions / "2")

        timer = threading.Timer(1, publish)
        timer.start()
        answers = []
        for _ in range(60):
            answers += load(server, *request, seconds=1, callers=3)
            if json.loads(answers[-1][2])["model_version"] == "2":
                break
        assert check_answers(answers, clips, predict).keys() == {200}
        seen = [json.loads(content)["model_version"] for *_, content in answers]
        assert set(seen) == {"1", "2"}

        shutil.copytree(other, tmp_path / "damaged")
        flip_a_bit(tmp_path / "damaged/saved_model.pb")
        (tmp_path / "damaged").rename(versions / "3")
        while "damaged" not in server.log():
            assert json.loads(load(server, *request, seconds=0.1)[-1][2])["model_version"] == "2"
        assert server.log().count("damaged; version 2 answers") == 1
        shutil.rmtree(versions / "3")
        shutil.rmtree(versions / "2")
        while server.metric("deepvideo_model_version") != 1:
            assert load(server, *request, seconds=0.1)[-1][0] == 200
        assert check_answers(load(server, *request, seconds=0.5), clips, predict).keys() == {200}


def test_starts_beside_a_damaged_version_and_takes_it_when_it_is_mended(export_dir, tmp_path):
    """Under the same number, and though it is copied slowly to where the server looks for it."""
    versions = tmp_path / NAME
    shutil.copytree(export_dir / "1", versions / "1")
    shutil.copytree(export_dir / "1", versions / "2")
    flip_a_bit(versions / "2/saved_model.pb")
    with Server(versions, tmp_path / "serve.log") as server:
        assert server.metric("deepvideo_model_version") == 1
        assert "damaged; version 1 answers" in server.log()
        shutil.rmtree(versions / "2")
        shutil.copytree(export_dir / "1", versions / "2", ignore=lambda *_: ["variables"])
        time.sleep(3)  # it looks every second
        assert server.metric("deepvideo_model_version") == 1
        shutil.copytree(export_dir / "1/variables", versions / "2/variables")
        for _ in range(300):
            if server.metric("deepvideo_model_version") == 2:
                break
            time.sleep(0.1)
        assert server.metric("deepvideo_model_version") == 2
        assert "Traceback" not in server.log()


def test_what_a_user_gets_wrong(run_program, export_dir, server, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    for arguments, words in (
        ([f"--export_dir={tmp_path / 'none'}"], ("no such folder", str(tmp_path / "none"))),
        ([f"--export_dir={empty}"], ("expected versions", str(empty), "Found: nothing")),
        ([f"--export_dir={export_dir / '1'}"], ("expected versions", str(export_dir / "1"), "saved_model.pb")),
        ([f"--export_dir={export_dir}", "--http_port=7000", "--grpc_port=7000"], ("must differ", "7000")),
        ([f"--export_dir={export_dir}", f"--http_port={server.http_port}"], (str(server.http_port), "in use")),
        ([f"--export_dir={export_dir}", f"--grpc_port={server.grpc_port}"], (str(server.grpc_port), "in use")),
        ([f"--export_dir={export_dir}", "--max_pending_clips=2"], ("--max_pending_clips", "--max_batch_clips")),
    ):
        result = run_program("serve", *arguments)
        assert result.returncode == 1
        (line,) = result.stderr.strip().splitlines()
        assert all(word in line for word in words), line
        assert not result.stdout
    result = run_program("serve", f"--export_dir={export_dir}", "--max_request_bytes=3000000000")
    assert (result.returncode, "--max_request_bytes" in result.stderr) == (2, True)
    assert "Traceback" not in result.stderr


def test_ctrl_c_twice(export_dir, tmp_path):
    with Server(export_dir, tmp_path / "serve.log") as server:
        for _ in range(2):
            server.process.send_signal(signal.SIGINT)
            time.sleep(0.1)
        assert server.process.wait(60) == 0, server.log()
        assert "Traceback" not in server.log()


@pytest.fixture(scope="module")
def heavy_export_dir(synthetic_videos, tmp_path_factory):
    """A model that takes some ten milliseconds a clip, so that refusing nine of ten is little beside answering one."""
    folder = tmp_path_factory.mktemp("heavy")
    shards = dv.ShardSpec(clips_per_video=1, frame_size_px=100)
    dv.build_shards(dv.read_folder(synthetic_videos), folder / "shards", split="train", spec=shards, num_shards=1)
    clip = dv.ClipSpec(num_frames=10, crop_size_px=90, flip=False)
    config = dv.TrainConfig(model="multires_slow_fusion", clip=clip, num_epochs=1, global_batch_size=8)
    dv.train(config, folder / "shards", folder / "run")
    return folder / "run/saved_model"


@pytest.mark.long
def test_ten_times_the_load_that_it_can_answer(heavy_export_dir, tmp_path):
    """For a minute, at a rate that does not care for the answers. Of use on a machine that does nothing else."""
    rng, batch = np.random.default_rng(0), 8
    frames = tf.cast(tf.image.resize(rng.integers(0, 256, (batch * 10, 8, 8, 3)), (100, 100), "bicubic"), tf.uint8)
    rows = np.array([tf.io.encode_jpeg(frame).numpy() for frame in frames], object).reshape(batch, 10)
    loaded = tf.saved_model.load(str(heavy_export_dir / "1"))
    expected = loaded.signatures["serve_encoded"](frames=tf.constant(rows))["probabilities"].numpy()
    request, contents = tensor(rows)
    body, headers = v2_body(request | {"parameters": {"signature_name": "serve_encoded"}}, contents)
    # One batch at a time: with a second one waiting, as by default, an answer takes up to twice as long, and more where
    # the callers use the same cores.
    flags = f"--max_batch_clips={batch}", f"--max_pending_clips={batch}"
    with Server(heavy_export_dir, tmp_path / "serve.log", *flags) as server:
        load(server, body, headers, seconds=3)
        unloaded = [seconds for _, seconds, _ in load(server, body, headers, seconds=20)]
        answered = [status for status, *_ in load(server, body, headers, seconds=10, callers=2)]
        per_s = 10 * answered.count(200) / 10
        load(server, body, headers, seconds=5, per_s=per_s)
        before_mib = resident_mib(server.process)
        answers = load(server, body, headers, seconds=60, per_s=per_s)
        after_mib = resident_mib(server.process)
        threads = num_threads(server.process)
    statuses = check_answers(answers, rows, {"1": lambda _: expected})
    seconds = {status: [one[1] for one in answers if one[0] == status] for status in statuses}
    p99_s = {status: np.percentile(values, 99) for status, values in seconds.items()}
    print(f"offered {per_s:.0f} a second; {dict(statuses)}; unloaded p99 {np.percentile(unloaded, 99):.3f} s")
    medians_s = {status: np.median(values) for status, values in seconds.items()}
    print(f"medians: unloaded {np.median(unloaded):.3f} s, under load by status {medians_s}")
    print(f"under load p99 by status {p99_s}, slowest 503 {max(seconds[503]):.3f} s; {before_mib} to {after_mib} MiB")
    assert statuses.keys() == {200, 503}
    assert after_mib < before_mib + 30
    assert threads < 60
    assert p99_s[503] < 0.1
    assert p99_s[200] < 2 * np.percentile(unloaded, 99)
