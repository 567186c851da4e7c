"""The server as a subprocess, and callers of its three protocols."""

import asyncio
import gc
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sysconfig
import time
from pathlib import Path

import aiohttp
import grpc
import numpy as np
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from kserve.protocol.grpc import grpc_predict_v2_pb2_grpc

JSON = {"Content-Type": "application/json"}
NAME = "net"

MAX_REQUEST_BYTES = 4 << 20


def free_port():
    with socket.socket() as probe:
        probe.bind(("", 0))
        return probe.getsockname()[1]


class Server:
    """`deepvideo-serve` on free ports, ready when it is made.

    Args:
        export_dir: the folder of versions.
        log_path: where its output goes.
        flags: further ones.
    """

    def __init__(self, export_dir, log_path, *flags):
        self.http_port, self.grpc_port, self.log_path = free_port(), free_port(), log_path
        program = Path(sysconfig.get_path("scripts")) / "deepvideo-serve"
        ports = f"--http_port={self.http_port}", f"--grpc_port={self.grpc_port}"
        with open(log_path, "wb") as log:
            self.process = subprocess.Popen(
                [program, f"--export_dir={export_dir}", f"--model_name={NAME}", *ports, *flags], stdout=log, stderr=log
            )
        self.url = f"http://127.0.0.1:{self.http_port}"
        self.channel = grpc.insecure_channel(f"127.0.0.1:{self.grpc_port}", [("grpc.max_send_message_length", -1)])
        self.stub = grpc_predict_v2_pb2_grpc.GRPCInferenceServiceStub(self.channel)
        for _ in range(600):
            assert self.process.poll() is None, self.log()
            try:
                if self.call("GET", "/v2/health/ready")[0] == 200:
                    break
            except OSError:
                time.sleep(0.1)
        self.stub.ServerLive(pb.ServerLiveRequest(), wait_for_ready=True, timeout=20)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.channel.close()
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def stop(self):
        """Tells it to stop and waits; its status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    def log(self):
        return self.log_path.read_text(errors="replace")

    def call(self, method, path, body=None, headers=JSON):
        """One request; its status and its content, as JSON where it is that."""
        connection = http.client.HTTPConnection("127.0.0.1", self.http_port, timeout=60)
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            content = response.read()
        finally:
            connection.close()
        if response.headers.get_content_type() == "application/json" and JSON_LENGTH not in response.headers:
            content = json.loads(content)
        return response.status, content

    def predict(self, request):
        """TensorFlow Serving's REST shape."""
        return self.call("POST", f"/v1/models/{NAME}:predict", json.dumps(request).encode())

    def infer(self, request, contents=b""):
        """The V2 protocol over HTTP, with binary tensors behind the JSON where there are contents."""
        return self.call("POST", f"/v2/models/{NAME}/infer", *v2_body(request, contents))

    def infer_grpc(self, rows, *, signature="serving_default", raw=None, **changes):
        """The V2 protocol over gRPC; the response."""
        return self.infer_grpc_later(rows, signature=signature, raw=raw, **changes).result()

    def infer_grpc_later(self, rows, *, signature="serving_default", raw=None, **changes):
        """The same, without waiting."""
        name, datatype = ("clip", "UINT8") if rows.dtype == np.uint8 else ("frames", "BYTES")
        tensor = {"name": name, "datatype": datatype, "shape": rows.shape} | changes
        request = pb.ModelInferRequest(model_name=NAME, inputs=[tensor], raw_input_contents=[raw or raw_bytes(rows)])
        request.parameters["signature_name"].string_param = signature
        return self.stub.ModelInfer.future(request, timeout=60)

    def metric(self, name):
        _, text = self.call("GET", "/metrics")
        return float(re.search(rf"^{re.escape(name)} (\S+)$", text.decode(), re.M).group(1))


JSON_LENGTH = "Inference-Header-Content-Length"


def v2_body(request, contents=b""):
    """Body and headers of a V2 request."""
    text = json.dumps(request).encode()
    if not contents:
        return text, JSON
    return text + contents, {"Content-Type": "application/octet-stream", JSON_LENGTH: str(len(text))}


def tensor(rows, **changes):
    """A V2 request about an array whose bytes follow, and those bytes."""
    contents = raw_bytes(rows)
    name, datatype = ("clip", "UINT8") if rows.dtype == np.uint8 else ("frames", "BYTES")
    one = {"name": name, "datatype": datatype, "shape": list(rows.shape)}
    return {"inputs": [one | {"parameters": {"binary_data_size": len(contents)}} | changes]}, contents


def raw_bytes(rows):
    """An array as the V2 protocol packs it."""
    if rows.dtype == np.uint8:
        return rows.tobytes()
    return b"".join(len(one).to_bytes(4, "little") + one for one in rows.ravel())


def column(response, name):
    """The values of an output in a response of the V2 protocol's JSON."""
    (output,) = (output for output in response["outputs"] if output["name"] == name)
    return np.reshape(output["data"], output["shape"])


def outputs_of(response):
    """By name, the arrays of a gRPC response."""
    arrays = {}
    for output, content in zip(response.outputs, response.raw_output_contents, strict=True):
        if output.datatype == "FP32":
            arrays[output.name] = np.frombuffer(content, np.float32).reshape(output.shape)
    return arrays


def load(server, body, headers, *, seconds, per_s=None, callers=1):
    """Asks the server again and again: at a rate whatever the answers, or `callers` of them one after the other.

    Returns:
        A list of (status, seconds, content); a status that is text is the name of an exception.
    """
    gc.collect()
    gc.freeze()  # the caller's own pauses are not the server's
    try:
        return asyncio.run(_load(f"{server.url}/v2/models/{NAME}/infer", body, headers, seconds, per_s, callers))
    finally:
        gc.unfreeze()


async def _load(url, body, headers, seconds, per_s, callers):
    answers = []

    async def ask(session):
        start = time.perf_counter()
        try:
            async with session.post(url, data=body, headers=headers) as response:
                content = await response.read()
                status = response.status
        except aiohttp.ClientError as error:
            status, content = type(error).__name__, b""
        answers.append((status, time.perf_counter() - start, content))

    async def ask_on(session, end):
        while time.perf_counter() < end:
            await ask(session)

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        start = time.perf_counter()
        if per_s is None:
            await asyncio.gather(*(ask_on(session, start + seconds) for _ in range(callers)))
        else:
            tasks = []
            for turn in range(int(seconds * per_s)):
                await asyncio.sleep(max(0.0, start + turn / per_s - time.perf_counter()))
                tasks.append(asyncio.create_task(ask(session)))
            await asyncio.gather(*tasks)
    return answers


def resident_mib(process, field="VmRSS"):
    """Its memory, or with `VmHWM` the most that it ever had."""
    text = Path(f"/proc/{process.pid}/status").read_text()
    return int(re.search(rf"{field}:\s+(\d+)", text).group(1)) / 1024


def num_threads(process):
    return len(os.listdir(f"/proc/{process.pid}/task"))
