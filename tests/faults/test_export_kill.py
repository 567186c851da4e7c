"""Exports killed with SIGKILL while somebody reads: what has a version's name is whole, and files are old or new."""

import random
import re
import signal
import subprocess
import sysconfig
import threading
import time
from pathlib import Path

import pytest

import deepvideo_tf as dv

SCRIPTS = Path(sysconfig.get_path("scripts"))
QUIET = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


class Reader(threading.Thread):
    """Looks at a folder of versions all the time, and takes stock of each version the moment that it sees it."""

    def __init__(self, export_dir):
        super().__init__(daemon=True)
        self.export_dir, self.seen, self.ended = export_dir, {}, threading.Event()

    def run(self):
        while not self.ended.is_set():
            for path in list(self.export_dir.glob("*")):
                if re.fullmatch("[0-9]+", path.name) and path.name not in self.seen:
                    files = {
                        str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()
                    }
                    self.seen[path.name] = files
            time.sleep(0.0005)


def files_of(path):
    return {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}


def killed(command, export_dir, delay_s):
    """Kills an export some time after it has begun to write; whether it was still at work."""
    process = subprocess.Popen(command, **QUIET)
    while process.poll() is None and not (export_dir / ".unfinished").exists():
        time.sleep(0.001)
    time.sleep(delay_s)
    process.send_signal(signal.SIGKILL)
    return process.wait() == -signal.SIGKILL


def check_kills(run, tmp_path, kills):
    export_dir = tmp_path / "exports"
    whole = files_of(dv.export_saved_model(run, export_dir))
    command = [SCRIPTS / "deepvideo-export-saved-model", f"--workdir={run}", f"--export_dir={export_dir}"]
    reader, rng = Reader(export_dir), random.Random(0)
    reader.start()
    at_work = sum(killed(command, export_dir, rng.uniform(0, 0.7)) for _ in range(kills))
    subprocess.run(command, check=True, **QUIET)
    reader.ended.set()
    reader.join()
    assert at_work >= kills / 2
    assert len(reader.seen) >= 2
    for version, files in reader.seen.items():
        assert files == files_of(export_dir / version)  # nothing came after its name did
        assert files.keys() == whole.keys()
        assert dv.load_predictor(export_dir / version).about["checkpoint"]
    assert not (export_dir / ".unfinished").exists()


def test_a_reader_never_sees_half_a_version(small_run, tmp_path):
    check_kills(small_run, tmp_path, kills=3)


@pytest.mark.long
def test_a_reader_never_sees_half_a_version_in_30_kills(small_run, tmp_path):
    check_kills(small_run, tmp_path, kills=30)


@pytest.mark.long
def test_a_killed_export_leaves_the_file_before(small_run, tmp_path):
    path, rng = tmp_path / "model.tflite", random.Random(1)
    before = dv.export_tflite(small_run, path).read_bytes()
    command = [SCRIPTS / "deepvideo-export-tflite", f"--workdir={small_run}", f"--tflite_path={path}"]
    for _ in range(10):
        process = subprocess.Popen([*command, "--quantization=float16"], **QUIET)
        time.sleep(rng.uniform(2, 8))
        process.kill()
        process.wait()
        if path.read_bytes() != before:
            assert dv.load_predictor(path).about["precision"] == "float16"
            path.write_bytes(before)
