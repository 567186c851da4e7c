"""The notebooks: executed from top to bottom in this environment, and committed without anything of the machine's."""

import base64
import io
import json
import re

import nbformat
import numpy as np
import pytest
from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpecManager
from nbclient import NotebookClient
from PIL import Image

from tests.support.repository import REPOSITORY

NOTEBOOKS = sorted((REPOSITORY / "notebooks").glob("*.ipynb"))
MACHINE_PATH = re.compile(r"(?<![\w.])(/(?:home|root|work|tmp|usr|Users|content|mnt)/|[A-Z]:\\)")
CELL_TIMEOUT_S = 600


@pytest.fixture
def execute(tmp_path, monkeypatch):
    """Runs a notebook in an empty folder; returns what each cell printed and drew, by the cell's id."""
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))  # nobody's start-up files
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    folder = tmp_path / "folder"
    folder.mkdir()

    def run(name, replace=("", "")):
        text = (REPOSITORY / "notebooks" / f"{name}.ipynb").read_text(encoding="utf-8")
        assert replace[0] in text
        notebook = nbformat.reads(text.replace(*replace, 1), as_version=4)
        # This environment's kernel, whatever others are registered.
        manager = AsyncKernelManager(kernel_name="python3", kernel_spec_manager=KernelSpecManager(kernel_dirs=[]))
        resources = {"metadata": {"path": str(folder)}}
        NotebookClient(notebook, km=manager, timeout=CELL_TIMEOUT_S, resources=resources).execute()
        assert not list(folder.iterdir())  # whatever it writes is in a temporary folder
        return {cell.id: cell.outputs for cell in notebook.cells if cell.cell_type == "code"}

    return run


def printed(outputs):
    return "".join(output.text for output in outputs if output.output_type == "stream" and output.name == "stdout")


def warned(cells):
    streams = [output for outputs in cells.values() for output in outputs if output.output_type == "stream"]
    return [stream.text for stream in streams if stream.name == "stderr" and re.search("Warning|Error", stream.text)]


def pictures(cells):
    """Ids of the cells that show a picture, of something."""
    found = set()
    for name, outputs in cells.items():
        for output in outputs:
            if "image/png" in output.get("data", {}):
                content = base64.b64decode(output.data["image/png"])
                assert np.asarray(Image.open(io.BytesIO(content)).convert("L")).std() > 5
                found.add(name)
    return found


def test_there_are_notebooks():
    assert [path.stem for path in NOTEBOOKS] == ["quickstart", "transfer"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_committed_without_outputs_and_traces(path):
    text = path.read_text(encoding="utf-8")
    data = json.loads(text)
    nbformat.validate(data)
    assert (data["nbformat"], data["nbformat_minor"]) == (4, 5)
    assert data["metadata"] == {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    assert len({cell["id"] for cell in data["cells"]}) == len(data["cells"])
    for cell in data["cells"]:
        assert cell["metadata"] == {}
        assert cell.get("outputs", []) == []
        assert cell.get("execution_count") is None
    assert not MACHINE_PATH.search(text)


QUICKSTART_PICTURES = {"look", "views", "curves", "confusion", "predictions", "filters", "saliency"}


def hit_at_1(cells):
    return float(re.search(r"^video Hit@1 ([\d.]+) \(", printed(cells["evaluate"]), re.M).group(1))


def test_the_quickstart(execute):
    cells = execute("quickstart")
    assert cells["install"] == []  # since the package is here
    assert hit_at_1(cells) > 0.7  # chance is 0.25
    assert pictures(cells) == QUICKSTART_PICTURES
    assert re.search(r"^(moves_\w+)/\d+\.mp4\n  [\d.]+ \1$", printed(cells["predict"]), re.M)
    assert warned(cells) == []


@pytest.mark.long
def test_the_quickstart_on_videos_of_ones_own(execute, ucf101_6):
    cells = execute("quickstart", replace=("MY_VIDEOS = None", f"MY_VIDEOS = '{ucf101_6 / 'videos'}'"))
    assert hit_at_1(cells) > 0.4  # chance is 0.17
    assert pictures(cells) == QUICKSTART_PICTURES


@pytest.mark.long
def test_transfer_learning(execute):
    cells = execute("transfer")
    (table,) = [output.data["text/markdown"] for output in cells["table"]]
    hits = {name: float(hit) for name, hit in re.findall(r"^\| (top|top3|all|scratch) \| ([\d.]+) \|", table, re.M)}
    assert set(hits) == {"top", "top3", "all", "scratch"}
    assert min(hits["top"], hits["top3"]) > 0.8  # chance is 0.5
    assert min(hits["top"], hits["top3"]) > hits["scratch"] + 0.1  # what the notebook says it shows
    assert pictures(cells) == {"look", "chart"}
    trained, whole = re.search(r"^([\d,]+) of ([\d,]+) parameters are trained", printed(cells["hand-build"])).groups()
    assert int(trained.replace(",", "")) == 2 * 1024 + 2 < int(whole.replace(",", ""))
    assert float(re.search(r"by hand: clip Hit@1 ([\d.]+)", printed(cells["hand-fit"])).group(1)) > 0.8
    assert warned(cells) == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_flag_in_a_notebook_exists(path, run_program):
    texts = [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "markdown"]
    commands = re.findall(r"^deepvideo-([a-z-]+) (--.*)$", "\n".join(texts), re.M)
    assert bool(commands) == (path.stem == "transfer")
    for name in {name for name, _ in commands}:
        known = run_program(name, "--help").stdout
        flags = [flag for program, line in commands if program == name for flag in re.findall(r"--([a-z0-9_]+)", line)]
        assert all(re.search(rf"--(\[no\])?{flag}:", known) for flag in flags), name
