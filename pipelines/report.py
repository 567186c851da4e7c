"""Trains and evaluates everything in the paper's tables, and writes a page with its numbers beside the paper's.

On shards of your own (train, test and, if there is one, validation):

  deepvideo-report --shards_dir=SHARDS --report_dir=REPORT

On a data set that it knows, from the videos; synthetic ones it renders itself:

  deepvideo-report --preset=synthetic --report_dir=REPORT
  deepvideo-report --preset=ucf101-6 --data_dir=DATA --report_dir=REPORT --init_from=RUN

DATA holds the folder videos and, for ucf101-6 and utd-depth, their lists and classes.txt; for sports1m
train_partition.txt, test_partition.txt and labels.txt. For ucf101 it holds UCF-101 and ucfTrainTestlist.

Writes report.html, which holds its pictures and needs no network, report.md and report.json. Every step is a command
that is shown, and that you can run by itself. Interrupted, the same command goes on; what is done is not done again.
"""

import contextlib
import dataclasses
import datetime
import importlib.util
import json
import math
import os
import platform
import shlex
import subprocess
import time
from importlib import metadata
from pathlib import Path

import filelock
from absl import flags

from deepvideo_tf import cli
from deepvideo_tf.config import ClipSpec, TrainConfig
from deepvideo_tf.data.shards.manifest import read_manifest
from deepvideo_tf.errors import ConfigError, ModelFileError
from deepvideo_tf.reporting import plan as planning
from deepvideo_tf.reporting.page import MISSING, write_pages
from deepvideo_tf.reporting.presets import PRESETS, Preset
from deepvideo_tf.storage.writes import write_bytes_atomically, write_text_atomically

_REPORT_DIR = flags.DEFINE_string("report_dir", None, "Required. Folder of the report and its runs.", required=True)
_PRESET = flags.DEFINE_enum("preset", None, list(PRESETS), "Data set with known lists and settings.")
_DATA_DIR = flags.DEFINE_string("data_dir", None, "With --preset: folder of its videos and lists.")
_SHARDS_DIR = flags.DEFINE_string("shards_dir", None, "Without --preset: folder of the shards.")
_FLIP = cli.ConfigFlags(ClipSpec, only=("flip",), changes={"flip": {"note": "Only with --shards_dir."}})["flip"]
_INIT_FROM = cli.ConfigFlags(
    TrainConfig,
    only=("init_from",),
    changes={"init_from": {"help": "Folder of a trained run to fine-tune, for Tables 3 and 4."}},
)["init_from"]
_BUDGET_MINUTES = flags.DEFINE_float(
    "budget_minutes",
    60.0,
    "Minutes available; they determine the width of the models and the number of epochs.",
    lower_bound=1.0,
)
_FRAMES = flags.DEFINE_bool(
    "frames", True, "Whether pictures may show frames of the videos. Use --noframes if the videos may not be published."
)

EXTRAS = ("cv2", "jinja2", "matplotlib", "sklearn")
STATE_NAME = "state.json"
SPLITS = ("train", "validation", "test")


def main():
    preset = _preset()
    if not all(importlib.util.find_spec(name) for name in EXTRAS):
        raise ConfigError(MISSING)
    if _INIT_FROM.value is not None and not (Path(_INIT_FROM.value) / "checkpoints").is_dir():
        raise ModelFileError(f"--init_from={_INIT_FROM.value}: expected the folder of a trained run, found none")
    report_dir = Path(_REPORT_DIR.value)
    report_dir.mkdir(parents=True, exist_ok=True)
    with _only_report(report_dir):
        state = _read_state(report_dir, preset)
        folders = [report_dir / f"fold{fold}" if preset.folds > 1 else report_dir for fold in _folds(preset)]
        shards = [_shards(preset, folder) for folder in folders]
        begun_s = time.monotonic()
        built = _build(preset, report_dir, shards, state)
        source = _transfer_source(shards[0])
        if state["plan"] is None:
            planned_s = time.monotonic()
            state["plan"] = _make_plan(preset, shards[0], source, planned_s - begun_s)
            state["seconds"]["planning"] = time.monotonic() - planned_s
            _save(report_dir, state)
        plan = planning.Plan(**state["plan"])
        too_much = ", for which the least there can be is too much" * (plan.estimated_minutes > plan.budget_minutes)
        print(
            f"\nPlan: nets of width {plan.width:g}, {plan.num_epochs} epoch{'s' * (plan.num_epochs > 1)}; "
            f"some {plan.estimated_minutes:.0f} minutes (--budget_minutes={plan.budget_minutes:g}{too_much})"
        )
        steps = [_steps(preset, plan, folder, of_fold, source) for folder, of_fold in zip(folders, shards, strict=True)]
        for of_fold in steps:
            _run(of_fold, report_dir, state)
        _measure_speed(report_dir, state)
        report = _report(preset, plan, folders, shards, built, steps, state)
        _draw_chart(report, report_dir)
        write_text_atomically(report_dir / "report.json", json.dumps(report, indent=1, ensure_ascii=False) + "\n")
        page, markdown = write_pages(report, report_dir)
    for finding in report["findings"]:
        print(f"{'holds' if finding['holds'] else 'differs':>8}: {finding['expected']}: {finding['measured']}")
    print(f"Report: {page}\n        {markdown}\n        {report_dir / 'report.json'}")
    cli.print_next("deepvideo-predict", f"--model_path={folders[0] / 'runs' / 'slow_fusion'}", "VIDEO")


def _preset():
    """The data set of the flags, which must go together."""
    if not math.isfinite(_BUDGET_MINUTES.value):
        raise ConfigError(f"--budget_minutes must be finite. Received: {_BUDGET_MINUTES.value}")
    if (_PRESET.value is None) == (_SHARDS_DIR.value is None):
        raise ConfigError(
            "expected either --preset or --shards_dir. Received: " + ("both" if _PRESET.value else "none")
        )
    if _PRESET.value is None:
        if _DATA_DIR.value is not None:
            raise ConfigError("--data_dir goes with --preset")
        title, settings = Path(_SHARDS_DIR.value).resolve().name, Preset("", "")
        flip = () if _FLIP.value else ("--noflip",)
        return dataclasses.replace(
            settings, title=title, about=f"The shards {title}.", train_flags=(*flip, *settings.train_flags)
        )
    preset = PRESETS[_PRESET.value]
    if not _FLIP.value:
        raise ConfigError("--noflip goes with --shards_dir: a preset knows whether mirror images keep their labels")
    if preset.is_synthetic == (_DATA_DIR.value is not None):
        which = "takes no" if preset.is_synthetic else "needs"
        raise ConfigError(f"--preset={_PRESET.value} {which} --data_dir")
    return preset


def _folds(preset):
    return range(1, preset.folds + 1)


def _shards(preset, folder):
    return folder / "shards" if preset.builds else Path(_SHARDS_DIR.value)


@contextlib.contextmanager
def _only_report(report_dir):
    lock = filelock.FileLock(report_dir / ".lock")
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        raise ModelFileError(f"{report_dir}: another deepvideo-report is at work there") from None
    try:
        yield
    finally:
        lock.release()


def _read_state(report_dir, preset):
    """What was done before: the plan, the seconds of each finished command, and the speed table."""
    path = report_dir / STATE_NAME
    made_for = {"title": preset.title, "budget_minutes": _BUDGET_MINUTES.value}
    if not path.exists():
        return {"made_for": made_for, "plan": None, "done": [], "seconds": {}, "speed": None}
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
        came = {**state["made_for"]}
        _ = {*state["done"]}, {**state["seconds"]}, {**(state["speed"] or {})}
        _ = state["plan"] and planning.Plan(**state["plan"])
    except (ValueError, KeyError, TypeError) as error:
        raise ModelFileError(
            f"{path}: not a whole state of a report: {error!r}; give another folder, or remove this one to begin anew"
        ) from None
    if came != made_for:
        asked, found = (", ".join(f"{name}={value}" for name, value in of.items()) for of in (made_for, came))
        raise ConfigError(f"{report_dir}: holds a report of {found}, expected one of {asked}; give another folder")
    return state


def _save(report_dir, state):
    write_text_atomically(report_dir / STATE_NAME, json.dumps(state, indent=1, ensure_ascii=False) + "\n")


def _build(preset, report_dir, shards, state):
    """Builds the shards of a preset, and checks that there are those that a report needs; returns the steps."""
    data_dir, steps = _DATA_DIR.value, []
    if preset.is_synthetic:
        data_dir = report_dir / "videos"
        steps.append(planning.Step("videos", "deepvideo-make-synthetic", (f"--video_root={data_dir}",), data_dir))
    for fold, of_fold in zip(_folds(preset), shards, strict=True):
        steps += planning.build_steps(preset, data_dir, of_fold, fold)
    _run(steps, report_dir, state)
    for of_fold in shards:
        for split in ("train", "test"):
            read_manifest(of_fold, split)
    return steps


def _transfer_source(shards_dir):
    if _INIT_FROM.value is None:
        return None
    return planning.read_transfer_source(_INIT_FROM.value, read_manifest(shards_dir, "train").spec.frame_size_px)


def _make_plan(preset, shards_dir, source, spent_s):
    print("\nTiming the slowest net, to see what fits", flush=True)
    cli.import_tensorflow()
    left_s = (60 * _BUDGET_MINUTES.value - spent_s) / preset.folds
    width = None if source is None else source.width
    with cli.quiet_libraries():
        plan = planning.make_plan(preset, shards_dir, _BUDGET_MINUTES.value, left_s=left_s, width=width)
    return dataclasses.asdict(plan) | {"estimated_minutes": preset.folds * plan.estimated_minutes}


def _steps(preset, plan, folder, shards_dir, source):
    groups_path = None
    if preset.groups is not None:
        groups_path = folder / "groups.json"
        write_text_atomically(groups_path, json.dumps(preset.groups, indent=1) + "\n")
    return planning.run_steps(
        preset, plan, folder, shards_dir, groups_path=groups_path, init_from=source, with_frames=_FRAMES.value
    )


def _run(steps, report_dir, state):
    """Runs the commands that were not finished before; where a net is trained anew, what follows is evaluated anew."""
    for number, step in enumerate(steps):
        command = _command(step)
        if command in state["done"] and step.makes.exists():
            continue
        if step.program == "deepvideo-train":  # forgotten now: an interruption must not leave what is out of date
            stale = {_command(later) for later in steps[number:] if later.program == "deepvideo-evaluate"}
            state["done"] = [done for done in state["done"] if done not in stale]
        started_s = time.monotonic()
        try:
            cli.run_program(step.program, *step.arguments)
        finally:  # a net that was interrupted goes on: its time is that of all its parts
            spent_s = time.monotonic() - started_s
            state["seconds"][command] = state["seconds"].get(command, 0.0) + spent_s
            _save(report_dir, state)
        state["done"] = sorted({*state["done"], command})
        _save(report_dir, state)


def _command(step):
    return shlex.join([step.program, *map(str, step.arguments)])


def _measure_speed(report_dir, state):
    """The speed table is measured once, in this process, while nothing else of the report runs."""
    if state["speed"] is not None:
        return
    print("\nMeasuring the speed at the paper's size", flush=True)
    cli.import_tensorflow()
    with cli.quiet_libraries():
        from deepvideo_tf.reporting.speed import SPEED_FUSIONS, SPEED_ROUNDS, measure_speed
    begun_s = time.monotonic()
    with cli.progress(len(SPEED_FUSIONS) * (1 + SPEED_ROUNDS), "round", "speed") as on_round:
        state["speed"] = measure_speed(on_round)
    state["seconds"]["speed"] = time.monotonic() - begun_s
    _save(report_dir, state)


def _report(preset, plan, folders, shards, built, steps, state):
    """Everything that stands on the page, ready for JSON."""
    from deepvideo_tf.reporting.tables import make_findings, make_tables

    runs = [step.makes.parent.name for step in steps[0] if step.program == "deepvideo-evaluate"]
    folds = [{run: _evaluation(folder, run) for run in runs} for folder in folders]
    seconds = {run: _seconds(steps, run, state) for run in runs}
    return {
        "title": preset.title,
        "about": preset.about,
        "is_synthetic": preset.is_synthetic,
        "with_frames": _FRAMES.value,
        "data": _data(shards),
        "made": _made(plan, state),
        "findings": make_findings(folds),
        "tables": make_tables(folds, state["speed"], seconds),
        "chart": {
            "file": "table_1.png",
            "caption": f"Video Hit@1 of the models of Table 1 on {preset.title}, with 95% intervals, and the paper's.",
        },
        "pictures": _pictures(folders[0], Path(_REPORT_DIR.value)),
        "commands": [_command(step) for of_fold in (built, *steps) for step in of_fold],
    }


def _evaluation(folder, run):
    """A run's evaluation, which a user may have made anew by hand, with other flags."""
    path = folder / "runs" / run / "evaluation-test.json"
    try:
        evaluation = json.loads(path.read_text(encoding="utf-8"))
        _ = evaluation["intervals"], run != "slow_fusion" or evaluation["against"]
    except (ValueError, KeyError, TypeError) as error:
        raise ModelFileError(f"{path}: not an evaluation: {error!r}; remove it, and it is made again") from None
    return evaluation


def _draw_chart(report, report_dir):
    """Table 1 as a picture, the first thing on the page."""
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


def _seconds(steps, run, state):
    commands = [_command(step) for of_fold in steps for step in of_fold if step.name.partition(":")[0] == run]
    return sum(state["seconds"].get(command, 0.0) for command in commands)


def _data(shards):
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
    if len(shards) > 1:  # each video stands in every fold
        in_words += f", those of {len(shards)} folds added up"
    skipped = sum(of["skipped_videos"] for of in splits.values())
    return {
        "splits": splits,
        "classes": len(first.classes),
        "test_videos": splits["test"]["videos"],
        "text": f"{len(first.classes)} classes; {in_words}; frames of {first.spec.frame_size_px} px"
        + (f"; {skipped} videos were skipped." if skipped else "."),
    }


def _made(plan, state):
    """By what, where and when, for a reader who wants to do it again."""
    minutes = sum(state["seconds"].values()) / 60
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


def _commit():
    """The commit of the checkout that this package runs from; None where there is none."""
    folder = Path(__file__).resolve().parent
    try:
        return subprocess.run(
            ["git", "-C", folder, "describe", "--always", "--dirty", "--abbrev=12"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def _machine():
    processor = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        processor = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), processor)
    memory = ""
    with contextlib.suppress(ValueError, OSError, AttributeError):
        memory = f", {os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB of memory"
    return f"{os.cpu_count()} cores of {processor}{memory}, {platform.system()}"


def _pictures(folder, report_dir):
    pictures = []
    for run in planning.PICTURES:
        pictures_dir = folder / "runs" / run / "pictures-test"
        for picture in json.loads((pictures_dir / "pictures.json").read_text(encoding="utf-8")):
            if _FRAMES.value or picture["name"] not in planning.FRAME_PICTURES:
                file = str((pictures_dir / picture["file"]).relative_to(report_dir))
                pictures.append(picture | {"of": run, "file": file})
    return pictures


def run():
    cli.run(main)


if __name__ == "__main__":
    run()
