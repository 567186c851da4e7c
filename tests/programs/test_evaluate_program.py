"""`deepvideo-evaluate` as a user runs it."""

import json
import re
import shutil
import subprocess
import sys

from tests.support.files import rewrite_manifest
from tests.support.programs import check_pictures, one_line, succeeded
from tests.support.repository import REPOSITORY


def test_evaluating_an_average_against_another_run(run_program, small_run, small_shards, tmp_path):
    runs = [shutil.copytree(small_run, tmp_path / name, ignore=shutil.ignore_patterns("scores-*")) for name in "ab"]
    (runs[0] / "scores-test.npz").write_bytes(b"damaged")
    (tmp_path / "groups.json").write_text('{"sideways": ["moves_left", "moves_right"]}')
    result = run_program(
        "evaluate", "--workdir=average", f"--shards_dir={small_shards}", "--ensemble=a,b", "--against=b", "--k=1,2",
        "--groups=groups.json", "--motion", "--pictures=all", cwd=tmp_path,
    )  # fmt: skip
    output = succeeded(result)
    assert "a/scores-test.npz: not a whole file of scores: File is not a zip file; computed again" in result.stderr
    assert "the average of a, b\n" in output
    assert re.search(r"video Hit@2 +[\d.]+  [\d.]+ to [\d.]+  0.500\n", output)
    assert re.search(r"[\d.]+ mAP of sideways\n", output)
    assert "against b, which has video Hit@1" in output
    assert "video Hit@1 +0.000 (95% interval 0.000 to 0.000)" in output
    assert re.search(r"frozen +[+-][\d.]+ +[+-][\d.]+ to [+-][\d.]+", output)
    assert output.splitlines()[-3] == "Evaluation: average/evaluation-test.json"
    assert output.splitlines()[-2] == "Pictures: average/pictures-test (predictions, confusion, ap)"
    check_pictures(tmp_path / "average/pictures-test", ["predictions", "confusion", "ap"])
    text = (tmp_path / "average/evaluation-test.json").read_text()
    assert len(json.loads(text)["confusion"]) == 4
    assert len(text.splitlines()) < 300


def test_a_table_of_many_classes_shows_the_best_and_the_worst(tmp_path):
    classes = {f"class{n}": {"videos": 4, "video_hit_at_1": 0.5, "ap": n / 487} for n in range(487)}
    intervals = {"clip_hit_at_1": [0.1, 0.3], "map": [0.1, 0.3]}
    result = {
        "split": "test", "videos": 1948, "clips": 1948, "skipped_clips": 3, "views": 4, "runs": ["run"],
        "clip_hit_at_1": 0.2, "map": 0.2, "map_by_group": {"empty": None}, "intervals": intervals,
        "chance": {"clip_hit_at_1": 1 / 487, "map": 1 / 487}, "classes": classes, "most_confused": [],
    }  # fmt: skip
    code = f"from pipelines import evaluate; evaluate.print_result({result!r})"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=REPOSITORY)
    lines = output.stdout.splitlines()
    assert "  skipped 3 damaged clips" in lines
    assert "  clip Hit@1        0.200  0.100 to 0.300  0.002" in lines
    assert "  ... 467 classes between these" in lines
    assert (lines[-21].split()[-1], lines[-1].split()[-1]) == ("class486", "class0")
    assert len(lines) < 30


def test_mistakes_of_evaluation_get_one_line(run_program, small_run, small_shards, tmp_path):
    shutil.copytree(small_run, tmp_path / "run", ignore=shutil.ignore_patterns("scores-*", "evaluation-*"))
    shutil.copytree(small_shards, tmp_path / "others")
    path = tmp_path / "others/test-manifest.json"
    rewrite_manifest(path, classes=[*json.loads(path.read_text())["classes"], "fifth"])
    (tmp_path / "groups.json").write_text('{"none": ["swimming"]}')
    before = sorted(tmp_path.rglob("*"))
    for arguments, words in (
        (["--split=validation"], ["expected shards of the split 'validation', found test, train"]),
        (["--groups=groups.json"], ["groups.json: the group 'none' names 'swimming'", "not one of the 4 classes"]),
        (["--k=5"], ["k must be an integer from 1 to the 4 classes. Received: 5"]),
        (["--shards_dir=others"], ["run: cannot be used with others, which has other classes (5, not 4;"]),
    ):
        arguments = ["--workdir=run", f"--shards_dir={small_shards}", *arguments]
        one_line(run_program("evaluate", *arguments, cwd=tmp_path), *words)
        assert sorted(tmp_path.rglob("*")) == before
