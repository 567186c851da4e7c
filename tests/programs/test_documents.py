"""What the pages below docs/ say: they build, their commands run, and their tables are true.

A block of commands is run by `test_commands_of_a_page`; or it says above itself who runs it, `<!-- run by: FILE -->`,
or what it would take, `<!-- needs: WHAT -->`.
"""

import ast
import importlib
import inspect
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import h5py
import numpy as np
import pytest
import tensorflow as tf

import deepvideo_tf as dv
from deepvideo_tf.data.annotations import is_for_validation
from tests.support.programs import PROGRAMS
from tests.support.repository import REPOSITORY, real_data

DOCS = REPOSITORY / "docs"
PAGES = sorted([*DOCS.rglob("*.md"), REPOSITORY / "README.md", REPOSITORY / "BUILD.md"])
BLOCK = re.compile(r"(?:^<!-- (needs|run by): (.+?) -->\n)?^```(sh|python)\n(.*?)^```$", re.M | re.S)


def blocks(page):
    """(kind of mark or nothing, its text, language, code) of each block of a page."""
    return BLOCK.findall(page.read_text(encoding="utf-8"))


# The site


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    command = [
        sys.executable,
        "-m",
        "sphinx",
        "-W",
        "--keep-going",
        "-q",
        "-d",
        folder / "trees",
        DOCS,
        folder / "html",
    ]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-3000:]
    return folder / "html"


def test_the_site_builds_without_a_warning_and_needs_no_network(site):
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 15
    for page in pages:
        text = page.read_text(encoding="utf-8")
        fetched = re.findall(r"<(?:link|script|img|iframe)\b[^>]*?(?:href|src)=\"([^\"]+)\"", text)
        assert fetched
        assert not [address for address in fetched if re.match(r"(?:https?:)?//", address)], page
        assert str(REPOSITORY) not in text
        assert str(Path.home()) not in text
    for style in site.rglob("*.css"):
        assert not re.search(r"url\(\s*['\"]?(?:https?:)?//|@import", style.read_text(encoding="utf-8")), style


def test_the_site_has_every_name_and_every_flag(site, run_program):
    api = (site / "reference/api.html").read_text(encoding="utf-8")
    assert 'id="module-deepvideo_tf.visualization.plots"' in api
    for name in set(dv.__all__) - {"__version__", "errors", "plots"}:
        assert f'id="deepvideo_tf.{name}"' in api, name
    programs = (site / "reference/programs.html").read_text(encoding="utf-8")
    sections = dict(re.findall(r'<section id="deepvideo-([a-z-]+)">(.*?)</section>', programs, re.S))
    assert set(sections) == set(PROGRAMS)
    for name, text in sections.items():
        flags = re.findall(r"^  (--\S+): ", run_program(name, "--help").stdout, re.M)
        assert flags
        assert all(f'<span class="pre">{flag}</span>' in text for flag in flags), name


# Its commands


def test_every_block_of_commands_is_run_or_marked():
    seen = 0
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        assert text.count("```sh\n") == sum(language == "sh" for *_, language, _ in blocks(page)), page
        for mark, what, language, code in blocks(page):
            seen += language == "sh"
            if mark == "run by":
                assert page.name in (REPOSITORY / what).read_text(encoding="utf-8"), what
            elif language == "sh" and mark != "needs":
                assert page.relative_to(REPOSITORY) in map(Path, SET_UP), f"{page}: {code}"
    assert seen > 20


def copy_videos(ucf101_6, folder, classes, count):
    """The first videos of other groups each, as `folder/<class>/<video>`: links that lead out are not followed."""
    for name in classes:
        (folder / name).mkdir(parents=True)
        for video in sorted((ucf101_6 / "videos" / name).iterdir())[::8][:count]:
            shutil.copy(video, folder / name)


def own_videos(folder, ucf101_6, synthetic_videos):
    copy_videos(ucf101_6, folder / "VIDEOS", ("PlayingPiano", "Surfing"), 6)
    shutil.copy(synthetic_videos / "moves_up/0000.mp4", folder / "some_video.mp4")


def another_run(folder, ucf101_6, synthetic_videos):
    own_videos(folder, ucf101_6, synthetic_videos)
    shell(
        "deepvideo-build-shards --video_root=VIDEOS --holdout_fraction=0.25 --shards_dir=SHARDS --clips_per_video=4 "
        "--frame_size_px=100\n"
        "deepvideo-train --shards_dir=SHARDS --workdir=SPORTS_RUN --model=single_frame --width=0.25 --crop_size_px=86 "
        "--num_epochs=1",
        folder,
    )


def official_ucf101(folder, ucf101_6, synthetic_videos):
    """The official lists, cut down to three videos each of two classes."""
    classes = ("PlayingPiano", "Surfing")
    copy_videos(ucf101_6, folder / "UCF-101", classes, 3)
    lists = folder / "ucfTrainTestlist"
    lists.mkdir()
    (lists / "classInd.txt").write_text("".join(f"{label} {name}\r\n" for label, name in enumerate(classes, 1)))
    for fold in (1, 2, 3):
        train, test = [], []
        for label, name in enumerate(classes, 1):
            for number, video in enumerate(sorted((folder / "UCF-101" / name).iterdir())):
                here, ending = (test, "") if number == fold - 1 else (train, f" {label}")
                here.append(f"{name}/{video.name}{ending}\r\n")
        (lists / f"trainlist{fold:02d}.txt").write_text("".join(train))
        (lists / f"testlist{fold:02d}.txt").write_text("".join(test))


def some_of_sports1m(folder, ucf101_6, synthetic_videos):
    """Lines of the lists' form, for ten videos that are there and two that are not."""
    shutil.copy(real_data("sports-1m") / "labels.txt", folder)
    (folder / "VIDEOS").mkdir()
    ids = [f"UDqivjS-{number:03d}" for number in range(100)]
    validation, train = ([name for name in ids if is_for_validation(name) == kind] for kind in (True, False))
    videos = sorted((ucf101_6 / "videos/Surfing").iterdir())[::4]
    lists = {"train_partition.txt": validation[:2] + train[:6], "test_partition.txt": train[6:8]}
    for name, listed in lists.items():
        lines = [
            f"https://www.youtube.com/watch?v={video} 168,{170 + number % 2}" for number, video in enumerate(listed)
        ]
        (folder / name).write_text("\n".join([*lines, f"https://www.youtube.com/watch?v=absent-{name[:4]} 3"]) + "\n")
        for video in listed:
            shutil.copy(videos.pop(), folder / f"VIDEOS/{video}.avi")


def readme(folder, ucf101_6, synthetic_videos):
    own_videos(folder, ucf101_6, synthetic_videos)
    shutil.copy(synthetic_videos / "moves_down/0000.mp4", folder / "another.webm")
    (folder / "OTHER_RUN").symlink_to("RUN2")
    (folder / "ucf101-6").symlink_to(ucf101_6)


SET_UP = {
    "README.md": readme,
    "docs/quickstart.md": lambda *_: None,
    "docs/sports1m.md": some_of_sports1m,
    "docs/transfer.md": another_run,
    "docs/ucf101.md": official_ucf101,
    "docs/videos.md": own_videos,
}


def shell(commands, folder):
    """Runs commands as a user's shell does, and stops at the first that fails; returns what they printed."""
    scripts = sysconfig.get_path("scripts")
    environment = os.environ | {"PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}"}
    result = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", commands],
        cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=1800,
    )  # fmt: skip
    assert result.returncode == 0, f"{commands}\n{result.stderr[-3000:]}"
    return result.stdout


@pytest.mark.long
@pytest.mark.parametrize("page", SET_UP)
def test_commands_of_a_page(page, ucf101_6, synthetic_videos, tmp_path):
    """Every block that is not marked, in order, in one folder, on a few real videos."""
    SET_UP[page](tmp_path, ucf101_6, synthetic_videos)
    for mark, _, language, code in blocks(REPOSITORY / page):
        if language == "sh" and not mark:
            shell(code, tmp_path)
        elif language == "python" and page != "README.md":  # whose own tests are in test_readme.py
            shell(f"python - <<'END'\n{code}END", tmp_path)


# Its tables


def cells(page, columns):
    """The rows of all tables of a page that have so many columns."""
    rows = [
        line.strip("|\n ").split(" | ") for line in page.read_text(encoding="utf-8").splitlines() if line[:2] == "| "
    ]
    return [row for row in rows if len(row) == columns]


def templates():
    """What the code can print, as regular expressions, with anything in the place of what is filled in."""
    for folder in ("deepvideo_tf", "pipelines", "export"):
        for path in (REPOSITORY / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                parts = node.values if isinstance(node, ast.JoinedStr) else [node]
                texts = [part.value if isinstance(part, ast.Constant) else None for part in parts]
                if not all(text is None or isinstance(text, str) for text in texts):
                    continue
                letters = sum(map(str.isalpha, "".join(filter(None, texts))))
                if letters >= 10 or (letters >= 4 and re.match("[a-z]{4}", texts[0] or "")):
                    yield "".join(".+" if text is None else re.escape(text) for text in texts)


def test_messages_are_the_codes_own():
    known = [re.compile(rf"(?:[^ ]+: )?{template}") for template in templates()]
    messages = [row[0].strip("`") for row in cells(DOCS / "reference/errors.md", 3) if row[0].startswith("`")]
    assert len(messages) > 30
    unknown = [message for message in messages if not any(template.fullmatch(message) for template in known)]
    assert unknown == []
    made_up = ("SHARDS: the moon is in the way", "crop_size_px ought to be at most 100. Received: 178")
    assert not any(template.fullmatch(message) for template in known for message in made_up)


def test_the_papers_numbers_stand_where_the_page_says():
    names = {"dv": dv, "default": lambda function, name: inspect.signature(function).parameters[name].default}
    for name in (
        "baseline.codebooks", "config", "data.annotations", "evaluation.class_groups", "evaluation.protocol",
        "models.heads", "models.layers", "models.network", "models.towers.alexnet",
    ):  # fmt: skip
        names[name.rpartition(".")[2]] = importlib.import_module(f"deepvideo_tf.{name}")
    rows = cells(DOCS / "reference/paper.md", 3)[1:]
    expressions = [
        code
        for *_, here in rows
        for code in re.findall(r"`([^`]+)`", here)
        if not code.startswith(("--", "against", "ensemble"))
    ]
    assert len(expressions) > 20
    for expression in expressions:
        assert eval(expression, names), expression
    for path in re.findall(r"\b(?:tests|benchmarks)/\S+\.(?:py|md)", " ".join(here for *_, here in rows)):
        assert (REPOSITORY / path).is_file(), path


def test_every_difference_from_the_paper_is_collected(site):
    page = (site / "reference/paper.html").read_text(encoding="utf-8")
    count = sum(
        len(re.findall(r"Differs\s+from\s+(?:the\s+paper|theirs)", path.read_text(encoding="utf-8")))
        for path in (REPOSITORY / "deepvideo_tf").rglob("*.py")
    )
    assert len(re.findall(r"Differs from (?:the paper|theirs)", page)) == count > 10


def keys_by_section():
    """The first columns of the page on formats, by the headings of its sections."""
    sections = re.split(r"^## (.*)\n", (DOCS / "reference/formats.md").read_text(encoding="utf-8"), flags=re.M)
    return {
        title: re.findall(r"^\| `(\w+)` \|", text, re.M)
        for title, text in zip(sections[1::2], sections[2::2], strict=True)
    }


def test_formats_are_as_described(small_run, small_shards, tmp_path):
    shutil.copytree(small_run, tmp_path / "RUN", ignore=shutil.ignore_patterns("scores-*"))
    (tmp_path / "SHARDS").symlink_to(small_shards)
    evaluation = dv.evaluate(tmp_path / "RUN", small_shards, ks=[1])
    record = next(iter(tf.data.TFRecordDataset(str(next(small_shards.glob("train-*.tfrecord"))))))
    clip = tf.train.SequenceExample.FromString(record.numpy())
    (checkpoint,) = list((tmp_path / "RUN/checkpoints").glob("step-*"))[:1]
    with h5py.File(checkpoint) as file:
        groups = set(file)
    with np.load(tmp_path / "RUN/scores-test.npz", allow_pickle=False) as file:
        arrays = set(file)
    card = json.loads(next((tmp_path / "RUN/saved_model").glob("*/assets.extra/model_card.json")).read_text())
    described = keys_by_section()
    assert set(described["Shards"]) == set(clip.context.feature) | set(clip.feature_lists.feature_list)
    assert set(described["The manifest of a split"]) == set(
        json.loads((small_shards / "train-manifest.json").read_text())
    )
    assert set(described["The run's settings"]) == set(json.loads((tmp_path / "RUN/config.json").read_text()))
    assert set(described["Checkpoints"]) == groups
    assert set(described["Scores"]) == arrays
    assert set(described["The evaluation"]) == set(evaluation)
    assert set(described["The model card"]) == set(card)
    for *_, language, code in blocks(DOCS / "reference/formats.md"):
        if language == "python":
            assert shell(f"python - <<'END'\n{code}END", tmp_path)
