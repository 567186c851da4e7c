"""How much of a SavedModel's speed is left behind the server: clips/s through it against the same model in process.

  python benchmarks/serving_speed.py
  python benchmarks/serving_speed.py --export_dir=EXPORTS/my_model

Without an export it trains the two-stream net in the paper's size for one step, and takes that: weights cost the same
whatever they are.
Both sides compute batches of `--batch_clips` clips with the same number of threads, in turn: the server is asked by two
callers (one waits while the other's batch is computed), the SavedModel is called one batch after the other by this
process, which has loaded it too. Single clips are a third side: twice as many callers as a batch holds, whose clips the
server puts together. While one side works, the other waits.
"""

import http.client
import json
import os
import socket
import statistics
import subprocess
import sysconfig
import tempfile
import threading
import time
from pathlib import Path

import grpc
import numpy as np
import tensorflow as tf
from absl import app, flags
from kserve.protocol.grpc import grpc_predict_v2_pb2, grpc_predict_v2_pb2_grpc

import deepvideo_tf as dv
from deepvideo_tf.formats.saved_model import latest_version

_EXPORT_DIR = flags.DEFINE_string("export_dir", None, "The folder of versions. Default: a net that knows nothing.")
_BATCH_CLIPS = flags.DEFINE_integer("batch_clips", 8, "Clips of a batch.", lower_bound=1)
_THREADS = flags.DEFINE_integer("threads", os.cpu_count(), "Threads that compute, on each side.", lower_bound=1)
_ROUNDS = flags.DEFINE_integer("rounds", 10, "Turns of each side.", lower_bound=1)
_TURN_S = flags.DEFINE_float("turn_s", 3.0, "Seconds of a turn.", lower_bound=0.1)

MAX_MESSAGE_BYTES = 1 << 30
JSON_LENGTH_HEADER = "Inference-Header-Content-Length"


def free_port():
    with socket.socket() as probe:
        probe.bind(("", 0))
        return probe.getsockname()[1]


def untrained(folder):
    """A SavedModel of the two-stream net in the paper's size; its folder of versions."""
    videos = dv.make_synthetic(folder / "videos", videos_per_class=2)
    dv.build_shards(dv.read_folder(videos), folder / "shards", split="train", num_shards=1)
    config = dv.TrainConfig(model="multires", clip=dv.ClipSpec(num_frames=1, crop_size_px=178), num_epochs=1)
    dv.train(config, folder / "shards", folder / "run")
    return folder / "run/saved_model"


def start_server(export_dir, http_port, grpc_port, log):
    program = Path(sysconfig.get_path("scripts")) / "deepvideo-serve"
    limits = f"--max_batch_clips={_BATCH_CLIPS.value}", f"--max_request_bytes={MAX_MESSAGE_BYTES}"
    ports = f"--http_port={http_port}", f"--grpc_port={grpc_port}"
    command = [program, f"--export_dir={export_dir}", "--model_name=net", *ports, *limits]
    return subprocess.Popen([*command, f"--num_threads={_THREADS.value}"], stdout=log, stderr=log)


def over_grpc(port, clips):
    """A function that asks about clips and waits for the answer."""
    channel = grpc.insecure_channel(f"127.0.0.1:{port}", [("grpc.max_send_message_length", MAX_MESSAGE_BYTES)])
    stub = grpc_predict_v2_pb2_grpc.GRPCInferenceServiceStub(channel)
    tensor = {"name": "clip", "datatype": "UINT8", "shape": clips.shape}
    request = grpc_predict_v2_pb2.ModelInferRequest(
        model_name="net", inputs=[tensor], raw_input_contents=[clips.tobytes()]
    )
    return lambda: stub.ModelInfer(request, wait_for_ready=True)


def over_http(port, clips):
    """The same over HTTP, on one connection."""
    tensor = {
        "name": "clip",
        "datatype": "UINT8",
        "shape": clips.shape,
        "parameters": {"binary_data_size": clips.nbytes},
    }
    text = json.dumps({"inputs": [tensor]}).encode()
    headers = {"Content-Type": "application/octet-stream", JSON_LENGTH_HEADER: str(len(text))}
    connection = http.client.HTTPConnection("127.0.0.1", port)

    def ask():
        connection.request("POST", "/v2/models/net/infer", text + clips.tobytes(), headers)
        response = connection.getresponse()
        content = response.read()
        if response.status != 200:
            raise RuntimeError(content)

    return ask


def clips_per_s(asks, clips_each):
    """What callers get through in a turn, each asking again when he is answered."""
    counts, start = [0] * len(asks), time.perf_counter()

    def ask_on(number):
        while time.perf_counter() < start + _TURN_S.value:
            asks[number]()
            counts[number] += clips_each

    threads = [threading.Thread(target=ask_on, args=(number,)) for number in range(len(asks))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / (time.perf_counter() - start)


def main(_):
    tf.config.threading.set_intra_op_parallelism_threads(_THREADS.value)
    with tempfile.TemporaryDirectory() as folder:
        measure(_EXPORT_DIR.value or untrained(Path(folder)))


def measure(export_dir):
    batch, http_port, grpc_port = _BATCH_CLIPS.value, free_port(), free_port()
    loaded = tf.saved_model.load(str(latest_version(export_dir)))
    answer = loaded.signatures["serving_default"]
    shape = answer.structured_input_signature[1]["clip"].shape[1:]
    clips = np.random.default_rng(0).integers(0, 256, (batch, *shape), dtype=np.uint8)
    with tempfile.TemporaryFile() as log:
        server = start_server(export_dir, http_port, grpc_port, log)
        try:
            over_grpc(grpc_port, clips)()  # waits until it is there
            sides = {
                "in process": ([lambda: answer(clip=tf.constant(clips))["probabilities"].numpy()], batch),
                "gRPC, 2 callers": ([over_grpc(grpc_port, clips) for _ in range(2)], batch),
                "HTTP, 2 callers": ([over_http(http_port, clips) for _ in range(2)], batch),
                f"gRPC, {2 * batch} callers, a clip each": (
                    [over_grpc(grpc_port, clips[:1]) for _ in range(2 * batch)],
                    1,
                ),
            }
            speeds = {name: [] for name in sides}
            for turn in range(1 + _ROUNDS.value):
                for name, side in sides.items():
                    speed = clips_per_s(*side)
                    if turn:  # the first warms up
                        speeds[name].append(speed)
        finally:
            server.terminate()
            server.wait()
    reference = speeds["in process"]
    print(f"{export_dir}: batches of {batch} clips, {_THREADS.value} threads, medians of {_ROUNDS.value} turns")
    print(f"{'':36}{'clips/s':>10}{'of in process':>16}")
    for name, values in speeds.items():
        ratio = statistics.median(one / other for one, other in zip(values, reference, strict=True))
        print(f"{name:36}{statistics.median(values):10.1f}{ratio:16.2f}")


if __name__ == "__main__":
    app.run(main)
