"""The server as its callers see it: right answers, clear refusals, and no more than it can do."""

import base64
import json
import threading

import grpc
import numpy as np
import pytest
import tensorflow as tf

import deepvideo_tf as dv
from tests.serving.client import (
    JSON,
    JSON_LENGTH,
    NAME,
    Server,
    outputs_of,
    pb,
    raw_bytes,
    tensor,
    v2_body,
)

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
    for request, contents in ((as_json, b""), tensor(clips)):
        status, answer = server.infer(request | {"id": "seven"}, contents)
        assert status == 200, answer
        assert (answer["id"], answer["model_name"], answer["model_version"]) == ("seven", NAME, "1")
        np.testing.assert_allclose(column(answer, "probabilities"), expected, atol=1e-5)
    request, contents = tensor(clips)
    wanted = {"name": "probabilities", "parameters": {"binary_data": True}}
    status, answer = server.infer(request | {"outputs": [wanted]}, contents)
    assert status == 200
    np.testing.assert_allclose(np.frombuffer(answer[-expected.nbytes :], np.float32), expected.ravel(), atol=1e-5)


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
        "numbers for files": {"signature_name": "serve_encoded", "instances": [[1] * 10]},
        "nine files": {"signature_name": "serve_encoded", "instances": [["x"] * 9]},
        "files that are no files": {"signature_name": "serve_encoded", "instances": [["x"] * 10]},
    }.items():
        yield what, json.dumps(request).encode()


@pytest.mark.parametrize(("what", "body"), list(bad_json()), ids=lambda value: value if isinstance(value, str) else "")
def test_bad_json_is_refused_with_a_reason(server, what, body):
    status, answer = server.call("POST", f"/v1/models/{NAME}:predict", body)
    assert status == 400, answer
    assert 10 < len(answer["error"]) < 500


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
    request, contents = tensor(frames)
    yield "no JPEG files", request | encoded, contents
    lengths = (2**32 - 1).to_bytes(4, "little") * 10
    request, contents = tensor(frames, parameters={"binary_data_size": len(lengths)})
    yield "files longer than the request", request | encoded, lengths


@pytest.mark.parametrize(
    ("what", "request_", "contents"), list(bad_tensors()), ids=lambda value: value if isinstance(value, str) else ""
)
def test_bad_tensors_are_refused_with_a_reason(server, what, request_, contents):
    status, answer = server.infer(request_, contents)
    assert status == 400, answer
    assert 10 < len(answer["error"]) < 500


def test_bad_bodies_and_addresses(server, clips):
    body, headers = v2_body(*tensor(clips))
    infer, predict = f"/v2/models/{NAME}/infer", f"/v1/models/{NAME}:predict"
    for length in ("x", "-1", str(len(body) + 1), ""):
        assert server.call("POST", infer, body, headers | {JSON_LENGTH: length})[0] == 400
    assert server.call("POST", infer, b"\xff\xfe{")[0] == 400
    assert server.call("POST", infer, b"[" * 100_000)[0] == 400
    assert server.call("POST", infer, b"\xff\xfe{", {"Content-Type": "application/octet-stream"})[0] == 400
    assert server.call("POST", predict, body, {"Content-Type": "application/octet-stream"})[0] == 400
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
        server.stub.ModelInfer(pb.ModelInferRequest(model_name="other"))
    assert refused.value.code() == grpc.StatusCode.NOT_FOUND


def test_nothing_above_was_a_500(server):
    """Runs after the others of this file: the server is the same, alive, and its log tells of no defect."""
    assert server.predict({})[0] == 400
    text = server.call("GET", "/metrics")[1].decode()
    assert 'deepvideo_http_responses_total{status="400"}' in text
    assert 'deepvideo_http_responses_total{status="5' not in text
    assert "Traceback" not in server.log()
    assert server.process.poll() is None
