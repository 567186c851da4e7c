"""What docs/deploy.md tells to do."""

import json
import os
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.support.client import free_port
from tests.support.repository import REPOSITORY

DEPLOY = (REPOSITORY / "docs/deploy.md").read_text(encoding="utf-8")


def blocks(section, language):
    """The commands of a section, each block of them."""
    text = DEPLOY.split(f"\n## {section}\n")[1].split("\n## ")[0]
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def run(command, cwd):
    scripts = sysconfig.get_path("scripts")
    environment = os.environ | {"PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}"}
    result = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_the_commands_of_both_servers(small_run, synthetic_videos, tmp_path):
    (tmp_path / "RUN").symlink_to(small_run)
    (tmp_path / "video.mp4").symlink_to(next(synthetic_videos.rglob("*.mp4")))
    (export,) = blocks("The SavedModel", "sh")
    run(["bash", "-ec", export], tmp_path)
    layout = re.search(r"```\n(EXPORTS.*?)```", DEPLOY, re.DOTALL).group(1)
    for line in layout.splitlines():
        first, *others = re.match(r"(.*?)  ", line).group(1).split(", ")
        for path in (first, *(Path(first).parent / other for other in others)):
            assert (tmp_path / path).exists(), path

    install, serve, curls = blocks("The Python server", "sh")
    assert install.startswith("pip install '.[serve]'")
    ports = {"8080": str(free_port()), "8081": str(free_port())}

    def elsewhere(text):
        return re.sub("8080|8081", lambda port: ports[port[0]], text)

    program, *flags = elsewhere(serve).split()
    log = tmp_path / "serve.log"
    with open(log, "w") as file:
        server = subprocess.Popen(
            [Path(sysconfig.get_path("scripts")) / program, *flags], cwd=tmp_path, stdout=file, stderr=file
        )
    try:
        ready, *_ = elsewhere(curls).splitlines()
        subprocess.run(["bash", "-c", f"{ready} --retry 120 --retry-delay 1 --retry-connrefused"], check=True)
        output = run(["bash", "-ec", elsewhere(curls)], tmp_path)
        assert '"name":"clip"' in output
        metrics = set(re.findall(r"`(deepvideo_\w+)`", DEPLOY))
        assert len(metrics) == 5
        assert all(f"# TYPE {name.removesuffix('_total')}" in output for name in metrics)
        behind_json, of_files, of_pixels = blocks("The Python server", "python")
        assert sum(json.loads(run([sys.executable, "-c", elsewhere(behind_json)], tmp_path))) == pytest.approx(1)
        lines = run([sys.executable, "-c", elsewhere(of_files)], tmp_path).splitlines()
        assert [line.split()[1].partition("_")[0] for line in lines] == ["moves"] * 4
        assert re.fullmatch(r"\[(\d) \1\]\n", run([sys.executable, "-c", elsewhere(of_pixels)], tmp_path))
    finally:
        server.terminate()
        assert server.wait(60) == 0, log.read_text()
    assert "Traceback" not in log.read_text()


def test_the_phones_file(small_run, small_config, tmp_path):
    (tmp_path / "RUN").symlink_to(small_run)
    (commands,) = blocks("A phone", "sh")
    output = run(["bash", "-ec", commands], tmp_path)
    assert output.splitlines()[-4:] == ["moves_down", "moves_left", "moves_right", "moves_up"]
    card = run(["unzip", "-p", "EXPORTS/net.tflite", "model_card.json"], tmp_path)
    assert '"frame_size_px": 36' in card
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(tmp_path / "EXPORTS/net.tflite"))
    interpreter.allocate_tensors()
    (clip,), (output,) = interpreter.get_input_details(), interpreter.get_output_details()
    size_px = small_config.clip.crop_size_px
    assert (clip["dtype"].__name__, clip["shape"].tolist()) == ("uint8", [1, 10, size_px, size_px, 3])
    assert (output["dtype"].__name__, output["shape"].tolist()) == ("float32", [1, 4])
