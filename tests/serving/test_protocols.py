"""Right answers over all protocols."""

import base64

import grpc
import numpy as np
import pytest

from tests.support.client import (
    JSON,
    NAME,
    column,
    outputs_of,
    pb,
    tensor,
    v2_body,
)


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
