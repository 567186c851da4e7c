"""An exported model, a server that runs for all tests of this folder, and what to ask it."""

import numpy as np
import pytest
import tensorflow as tf

import deepvideo_tf as dv
from tests.support.client import MAX_REQUEST_BYTES, NAME, Server


@pytest.fixture(scope="package")
def export_dir(small_run, tmp_path_factory):
    path = tmp_path_factory.mktemp("exports") / NAME
    dv.export_saved_model(small_run, path)
    return path


@pytest.fixture(scope="package")
def server(export_dir, tmp_path_factory):
    flags = f"--max_request_bytes={MAX_REQUEST_BYTES}", "--max_batch_clips=8"
    with Server(export_dir, tmp_path_factory.mktemp("log") / "serve.log", *flags) as server:
        yield server


@pytest.fixture(scope="package")
def predictor(export_dir):
    return dv.load_predictor(export_dir)


@pytest.fixture(scope="package")
def clips():
    return np.random.default_rng(0).integers(0, 256, (3, 10, 32, 32, 3), dtype=np.uint8)


@pytest.fixture(scope="package")
def frames(clips):
    """The same as JPEG files, enlarged to the size of stored frames."""
    jpeg = [[tf.io.encode_jpeg(np.pad(one, ((2, 2), (2, 2), (0, 0)))).numpy() for one in clip] for clip in clips]
    return np.array(jpeg, object)


@pytest.fixture(scope="package")
def of_frames(export_dir, frames):
    """What the SavedModel itself says of the JPEG files."""
    loaded = tf.saved_model.load(str(export_dir / "1"))
    return loaded.signatures["serve_encoded"](frames=tf.constant(frames))["probabilities"].numpy()
