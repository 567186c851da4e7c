"""Serve an exported model over HTTP and gRPC with KServe's model server, and picks up new versions as they come.

deepvideo-serve --export_dir=EXPORTS/my_model

HTTP has TensorFlow Serving's REST shape (/v1/models/NAME:predict), the V2 inference protocol and /metrics, gRPC the V2
protocol. There is no encryption and no login: put a proxy in front where others than its own callers reach it.
SIGTERM and Ctrl-C end what was accepted first.
"""

import gc
from pathlib import Path

from absl import flags

from deepvideo_tf import cli
from deepvideo_tf.errors import ConfigError

_EXPORT_DIR = flags.DEFINE_string(
    "export_dir", None, "Required. Folder of versions of the exported model.", required=True
)
_MODEL_NAME = flags.DEFINE_string("model_name", None, "Name of the model in requests; by default the folder's name.")
_HTTP_PORT = flags.DEFINE_integer("http_port", 8080, "HTTP port.", lower_bound=1, upper_bound=65535)
_GRPC_PORT = flags.DEFINE_integer("grpc_port", 8081, "gRPC port.", lower_bound=1, upper_bound=65535)
_MAX_BATCH_CLIPS = flags.DEFINE_integer(
    "max_batch_clips", 8, "Maximum number of clips computed together, and in one request.", lower_bound=1
)
_MAX_PENDING_CLIPS = flags.DEFINE_integer(
    "max_pending_clips",
    None,
    "Maximum number of clips accepted but not yet answered; more are refused with 503. By default two batches.",
    lower_bound=1,
)
_MAX_REQUEST_BYTES = flags.DEFINE_integer(
    "max_request_bytes", 16 << 20, "Maximum size of a request in bytes.", lower_bound=1, upper_bound=2**31 - 1
)
_NUM_THREADS = flags.DEFINE_integer(
    "num_threads", None, "Number of compute threads; by default one per core.", lower_bound=1
)


def main() -> None:
    max_pending_clips = _MAX_PENDING_CLIPS.value or 2 * _MAX_BATCH_CLIPS.value
    if max_pending_clips < _MAX_BATCH_CLIPS.value:
        raise ConfigError(f"--max_pending_clips must be at least --max_batch_clips. Received: {max_pending_clips}")
    if _HTTP_PORT.value == _GRPC_PORT.value:
        raise ConfigError(f"--http_port and --grpc_port must differ. Received: {_HTTP_PORT.value} for both")
    cli.import_tensorflow()
    import tensorflow as tf

    try:
        from deepvideo_tf.serving.model import ServedModel
        from deepvideo_tf.serving.server import check_port, serve
    except ImportError as error:
        raise ConfigError(f"serving needs the extra: pip install '.[serve]' in a checkout ({error})") from None
    for port in (_HTTP_PORT.value, _GRPC_PORT.value):
        check_port(port)
    if _NUM_THREADS.value:
        tf.config.threading.set_intra_op_parallelism_threads(_NUM_THREADS.value)
    # Exclude the libraries' objects from garbage collection: searching them takes most of a second.
    gc.collect()
    gc.freeze()
    name = _MODEL_NAME.value or Path(_EXPORT_DIR.value).resolve().name
    with cli.quiet_libraries():
        model = ServedModel(
            name, _EXPORT_DIR.value, max_batch_clips=_MAX_BATCH_CLIPS.value, max_pending_clips=max_pending_clips
        )
        model.load()
    model.log_problems()
    print(
        f"HTTP: port {_HTTP_PORT.value}, gRPC: port {_GRPC_PORT.value}, model {name}, {max_pending_clips} clips at once"
    )
    cli.print_next("curl", f"http://localhost:{_HTTP_PORT.value}/v2/models/{name}")
    serve(model, http_port=_HTTP_PORT.value, grpc_port=_GRPC_PORT.value, max_request_bytes=_MAX_REQUEST_BYTES.value)
    print(f"Stopped: {model.accepted} requests were accepted and answered")


def run() -> None:
    cli.run(main)


if __name__ == "__main__":
    run()
