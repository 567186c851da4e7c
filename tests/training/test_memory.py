"""Memory of a long run does not grow."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import sys
from pathlib import Path

import deepvideo_tf as dv


def print_resident(epoch, logs):
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    print(pages, flush=True)


config = dv.TrainConfig(
    model="multires", clip=dv.ClipSpec(num_frames=1, crop_size_px=32), width=0.2, num_epochs=10, global_batch_size=8
)
dv.train(config, sys.argv[1], sys.argv[2], checkpoint_minutes=0.01, on_epoch=print_resident)
"""


@pytest.mark.long
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads the memory from /proc")
def test_memory_is_flat_over_10_epochs(judged_shards, tmp_path):
    command = [sys.executable, "-c", SCRIPT, judged_shards, tmp_path / "run"]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    pages = [int(line) for line in printed.split()]
    assert len(pages) == 10
    assert max(pages[2:]) < 1.05 * pages[1], pages
