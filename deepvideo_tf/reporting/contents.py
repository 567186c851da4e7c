"""The contents of a report, ready for JSON: tables and findings, pictures, data, and how it was made."""

import contextlib
import dataclasses
import datetime
import json
import os
import platform
import subprocess
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from deepvideo_tf.data.annotations import SPLITS
from deepvideo_tf.data.shards.manifest import read_manifest
from deepvideo_tf.errors import ModelFileError
from deepvideo_tf.reporting.findings import make_findings
from deepvideo_tf.reporting.plan import FRAME_PICTURES, PICTURES, Plan, Step
from deepvideo_tf.reporting.presets import Preset
from deepvideo_tf.reporting.state import ReportState
from deepvideo_tf.reporting.tables import make_tables
from deepvideo_tf.storage.writes import write_bytes_atomically


def make_report(
    preset: Preset,
    folders: Sequence[Path],
    shards: Sequence[Path],
    built: Sequence[Step],
    steps: Sequence[Sequence[Step]],
    state: ReportState,
    *,
    with_frames: bool,
) -> dict[str, Any]:
    """Collect everything on the page.

    Args:
        preset: the data set.
        folders: the folder of each fold.
        shards: the folder of each fold's shards.
        built: the commands that built the shards.
        steps: the commands of each fold.
        state: of the report; all is done.
        with_frames: whether pictures may show frames of the videos.

    Returns:
        Dict of `title`, `about`, `is_synthetic`, `with_frames`, `data`, `made`, `findings`, `tables`, `chart`,
        `pictures` and `commands`.

    Raises:
        ModelFileError: an evaluation is damaged.
    """
    assert state.plan is not None
    assert state.speed is not None
    runs = [step.makes.parent.name for step in steps[0] if step.program == "deepvideo-evaluate"]
    folds = [{run: _evaluation(folder, run) for run in runs} for folder in folders]
    seconds = {run: _seconds(steps, run, state) for run in runs}
    return {
        "title": preset.title,
        "about": preset.about,
        "is_synthetic": preset.is_synthetic,
        "with_frames": with_frames,
        "data": _data(shards),
        "made": _made(state.plan, state),
        "findings": make_findings(folds),
        "tables": make_tables(folds, state.speed, seconds),
        "chart": {
            "file": "table_1.png",
            "caption": f"Video Hit@1 of the models of Table 1 on {preset.title}, with 95% intervals, and the paper's.",
        },
        "pictures": _pictures(folders[0], state.report_dir, with_frames),
        "commands": [step.command for of_fold in (built, *steps) for step in of_fold],
    }


def draw_chart(report: dict[str, Any], report_dir: Path) -> None:
    """Draw Table 1, the first figure on the page.

    Args:
        report: from `make_report`.
        report_dir: the folder of the report.

    Raises:
        OSError: the picture cannot be written.
    """
    from deepvideo_tf.visualization import plots

    table = report["tables"]["table_1"]
    column = table["columns"].index("video Hit@1")
    *rows, chance = [(row["title"], row["cells"][column]) for row in table["rows"]]
    figure = plots.models(
        [(title, cell["value"], cell["interval"], cell["paper"]) for title, cell in rows],
        chance=chance[1]["value"],
        title=f"{report['title']}: {report['data']['test_videos']} test videos",
    )
    write_bytes_atomically(report_dir / report["chart"]["file"], plots.to_png(figure))


def _evaluation(folder: Path, run: str) -> dict[str, Any]:
    """Read a run's evaluation, which a user may have made again with other flags."""
    path = folder / "runs" / run / "evaluation-test.json"
    try:
        evaluation = json.loads(path.read_text(encoding="utf-8"))
        _ = evaluation["intervals"], run != "slow_fusion" or evaluation["against"]
    except (ValueError, KeyError, TypeError) as error:
        raise ModelFileError(f"{path}: not an evaluation: {error!r}; remove it, and it is made again") from None
    return evaluation


def _seconds(steps: Sequence[Sequence[Step]], run: str, state: ReportState) -> float:
    of_run = (step for of_fold in steps for step in of_fold if step.name.partition(":")[0] == run)
    return sum(state.seconds.get(step.command, 0.0) for step in of_run)


def _data(shards: Sequence[Path]) -> dict[str, Any]:
    splits = {}
    for split in SPLITS:
        if (shards[0] / f"{split}-manifest.json").exists():
            manifests = [read_manifest(of_fold, split) for of_fold in shards]
            splits[split] = {
                "videos": sum(manifest.used for manifest in manifests),
                "clips": sum(manifest.records for manifest in manifests),
                "skipped_videos": sum(len(manifest.skipped) for manifest in manifests),
            }
    first = read_manifest(shards[0], "train")
    in_words = ", ".join(f"{split} {of['videos']:,} videos ({of['clips']:,} clips)" for split, of in splits.items())
    if len(shards) > 1:  # each video is in every fold
        in_words += f", those of {len(shards)} folds added up"
    skipped = sum(of["skipped_videos"] for of in splits.values())
    return {
        "splits": splits,
        "classes": len(first.classes),
        "test_videos": splits["test"]["videos"],
        "text": f"{len(first.classes)} classes; {in_words}; frames of {first.spec.frame_size_px} px"
        + (f"; {skipped} videos were skipped." if skipped else "."),
    }


def _made(plan: Plan, state: ReportState) -> dict[str, Any]:
    """Say with what, where and when it was made, for readers who want to repeat it."""
    minutes = sum(state.seconds.values()) / 60
    versions = {name: metadata.version(name) for name in ("deepvideo-tf", "tensorflow", "keras")}
    commit, machine = _commit(), _machine()
    of_commit = f" at commit {commit}" if commit else ""
    return {
        "size": f"The nets here have {plan.width:g} of the paper's width and were trained for {plan.num_epochs} "
        f"epoch{'s' * (plan.num_epochs > 1)}; the paper's for a month.",
        "text": f"deepvideo-tf {versions['deepvideo-tf']}{of_commit}, TensorFlow {versions['tensorflow']}, Keras "
        f"{versions['keras']}, on {machine}, {datetime.date.today().isoformat()}. All of it took {minutes:.0f} "
        "minutes.",
        "versions": versions,
        "commit": commit,
        "machine": machine,
        "minutes": minutes,
        "plan": dataclasses.asdict(plan),
    }


def _commit() -> str | None:
    """Return the commit of the checkout that this package runs from; None if there is none."""
    command = ["git", "-C", str(Path(__file__).resolve().parent), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def _machine() -> str:
    processor = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        processor = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), processor)
    memory = ""
    with contextlib.suppress(ValueError, OSError, AttributeError):
        memory = f", {os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB of memory"
    return f"{os.cpu_count()} cores of {processor}{memory}, {platform.system()}"


def _pictures(folder: Path, report_dir: Path, with_frames: bool) -> list[dict[str, Any]]:
    pictures = []
    for run in PICTURES:
        pictures_dir = folder / "runs" / run / "pictures-test"
        for picture in json.loads((pictures_dir / "pictures.json").read_text(encoding="utf-8")):
            if with_frames or picture["name"] not in FRAME_PICTURES:
                file = str((pictures_dir / picture["file"]).relative_to(report_dir))
                pictures.append(picture | {"of": run, "file": file})
    return pictures
