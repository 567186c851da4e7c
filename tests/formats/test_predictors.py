"""Model files with flipped bits, holes and lost ends: one line, and never a crash or another answer."""

import json
import subprocess
import sys

import pytest

import deepvideo_tf as dv

# In a process of its own, since a crash would take the tests with it. Counts what became of damaged copies.
DAMAGE = """
import collections, json, random, shutil, sys
from pathlib import Path
import numpy as np
import deepvideo_tf as dv

source, folder, count = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
rng, outcomes = random.Random(0), collections.Counter()
shape = dv.load_predictor(source).card.clip
clips = np.zeros((1, shape.num_frames, shape.crop_size_px, shape.crop_size_px, 3), np.uint8)
expected = dv.load_predictor(source).probabilities(clips)
files = sorted(path.relative_to(source) for path in source.rglob("*") if path.is_file()) if source.is_dir() else ["."]
for number in range(count):
    copy = folder / f"copy{source.suffix}"
    if source.is_dir():
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(source, copy)
    else:
        shutil.copy(source, copy)
    damaged = copy / files[number % len(files)]
    content = bytearray(damaged.read_bytes())
    place = rng.randrange(len(content))
    if number % 3 == 0:
        content[place] ^= 1 << rng.randrange(8)
    elif number % 3 == 1:
        content[place : place + 64] = bytes(len(content[place : place + 64]))
    else:
        content = content[:place]
    damaged.write_bytes(content)
    try:
        same = np.allclose(dv.load_predictor(copy).probabilities(clips), expected, atol=1e-5)
        outcomes["same" if same else f"another answer from {damaged}"] += 1
    except dv.errors.ModelFileError as error:
        outcomes["refused" if str(copy) in str(error) and "\\n" not in str(error) else f"said {error}"] += 1
print(json.dumps(outcomes))
"""


@pytest.fixture(scope="module")
def models(small_run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return {
        "saved_model": dv.export_saved_model(small_run, folder / "exports"),
        "tflite": dv.export_tflite(small_run, folder / "model.tflite"),
        "onnx": dv.export_onnx(small_run, folder / "model.onnx"),
    }


@pytest.mark.parametrize(("kind", "count"), [("saved_model", 21), ("tflite", 60), ("onnx", 60)])
def test_a_damaged_model_is_refused(models, tmp_path, kind, count):
    command = [sys.executable, "-c", DAMAGE, models[kind], tmp_path, str(count)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    outcomes = json.loads(done.stdout)
    assert outcomes.keys() <= {"same", "refused"}, outcomes
    # Of a SavedModel the labels, of a TFLite file the archive behind the model may be damaged without another answer.
    assert outcomes["refused"] >= (0.3 if kind == "saved_model" else 0.9) * count


def test_models_of_others_are_refused(tmp_path):
    for name in ("model.tflite", "model.onnx"):
        for content in (b"", b"text", bytes(1000)):
            (tmp_path / name).write_bytes(content)
            with pytest.raises(dv.errors.ModelFileError, match=f"{name}: not an? (TFLite|ONNX) file of this package"):
                dv.load_predictor(tmp_path / name)
