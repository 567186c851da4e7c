"""Train and evaluate everything in the paper's tables, and write a page with the numbers beside the paper's.

On your own shards (train, test and optionally validation):

  deepvideo-report --shards_dir=SHARDS --report_dir=REPORT

On a known data set, from its videos; synthetic ones are rendered:

  deepvideo-report --preset=synthetic --report_dir=REPORT
  deepvideo-report --preset=ucf101-6 --data_dir=DATA --report_dir=REPORT --init_from=RUN

DATA holds the folder videos and, for ucf101-6 and utd-depth, their lists and classes.txt; for sports1m
train_partition.txt, test_partition.txt and labels.txt. For ucf101 it holds UCF-101 and ucfTrainTestlist.

Writes report.html, which embeds its pictures and needs no network, report.md and report.json. Every step is a command
that is printed and can be run by itself. After an interruption, run the same command again to resume.
"""

import dataclasses
import importlib.util
import json
import math
import time
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from deepvideo_tf import cli
from deepvideo_tf.config import ClipSpec, TrainConfig
from deepvideo_tf.data.shards.manifest import read_manifest
from deepvideo_tf.errors import ConfigError, ModelFileError
from deepvideo_tf.reporting import plan as planning
from deepvideo_tf.reporting.contents import draw_chart, make_report
from deepvideo_tf.reporting.page import MISSING, write_pages
from deepvideo_tf.reporting.plan import Plan, Step, TransferSource
from deepvideo_tf.reporting.presets import PRESETS, Preset
from deepvideo_tf.reporting.state import ReportState
from deepvideo_tf.storage.locks import locked
from deepvideo_tf.storage.writes import write_text_atomically

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


def main() -> None:
    preset = _preset()
    if not all(importlib.util.find_spec(name) for name in EXTRAS):
        raise ConfigError(MISSING)
    if _INIT_FROM.value is not None and not (Path(_INIT_FROM.value) / "checkpoints").is_dir():
        raise ModelFileError(f"--init_from={_INIT_FROM.value}: expected the folder of a trained run, found none")
    report_dir = Path(_REPORT_DIR.value)
    report_dir.mkdir(parents=True, exist_ok=True)
    folders = [report_dir / f"fold{fold}" if preset.folds > 1 else report_dir for fold in _folds(preset)]
    with locked(report_dir / ".lock", ModelFileError(f"{report_dir}: another deepvideo-report is at work there")):
        state = ReportState.read(report_dir, {"title": preset.title, "budget_minutes": _BUDGET_MINUTES.value})
        report = _make(preset, folders, state)
        draw_chart(report, report_dir)
        write_text_atomically(report_dir / "report.json", json.dumps(report, indent=1, ensure_ascii=False) + "\n")
        page, markdown = write_pages(report, report_dir)
    for finding in report["findings"]:
        print(f"{'holds' if finding['holds'] else 'differs':>8}: {finding['expected']}: {finding['measured']}")
    print(f"Report: {page}\n        {markdown}\n        {report_dir / 'report.json'}")
    cli.print_next("deepvideo-predict", f"--model_path={folders[0] / 'runs' / 'slow_fusion'}", "VIDEO")


def _make(preset: Preset, folders: Sequence[Path], state: ReportState) -> dict:
    """Build, plan, train, evaluate and measure, and return the report."""
    shards = [_shards(preset, folder) for folder in folders]
    began_s = time.monotonic()
    built = _build(preset, shards, state)
    source = _transfer_source(shards[0])
    if state.plan is None:
        planned_s = time.monotonic()
        state.plan = _make_plan(preset, shards[0], source, planned_s - began_s)
        state.seconds["planning"] = time.monotonic() - planned_s
        state.save()
    plan = state.plan
    too_much = ", for which the least there can be is too much" * (plan.estimated_minutes > plan.budget_minutes)
    print(
        f"\nPlan: nets of width {plan.width:g}, {plan.num_epochs} epoch{'s' * (plan.num_epochs > 1)}; "
        f"some {plan.estimated_minutes:.0f} minutes (--budget_minutes={plan.budget_minutes:g}{too_much})"
    )
    steps = [_steps(preset, plan, folder, of_fold, source) for folder, of_fold in zip(folders, shards, strict=True)]
    for of_fold in steps:
        state.run(of_fold, cli.run_program)
    _measure_speed(state)
    return make_report(preset, folders, shards, built, steps, state, with_frames=_FRAMES.value)


def _preset() -> Preset:
    """Return the data set of the flags, after checking that they go together."""
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


def _folds(preset: Preset) -> range:
    return range(1, preset.folds + 1)


def _shards(preset: Preset, folder: Path) -> Path:
    return folder / "shards" if preset.builds else Path(_SHARDS_DIR.value)


def _build(preset: Preset, shards: Sequence[Path], state: ReportState) -> list[Step]:
    """Build the shards of a preset, and check that the needed ones exist; return the steps."""
    data_dir, steps = _DATA_DIR.value, []
    if preset.is_synthetic:
        data_dir = state.report_dir / "videos"
        steps.append(Step("videos", "deepvideo-make-synthetic", (f"--video_root={data_dir}",), data_dir))
    for fold, of_fold in zip(_folds(preset), shards, strict=True):
        steps += planning.build_steps(preset, data_dir, of_fold, fold)
    state.run(steps, cli.run_program)
    for of_fold in shards:
        for split in ("train", "test"):
            read_manifest(of_fold, split)
    return steps


def _transfer_source(shards_dir: Path) -> TransferSource | None:
    if _INIT_FROM.value is None:
        return None
    return planning.read_transfer_source(_INIT_FROM.value, read_manifest(shards_dir, "train").spec.frame_size_px)


def _make_plan(preset: Preset, shards_dir: Path, source: TransferSource | None, spent_s: float) -> Plan:
    print("\nTiming the slowest net, to see what fits", flush=True)
    cli.import_tensorflow()
    left_s = (60 * _BUDGET_MINUTES.value - spent_s) / preset.folds
    width = None if source is None else source.width
    with cli.quiet_libraries():
        plan = planning.make_plan(preset, shards_dir, _BUDGET_MINUTES.value, left_s=left_s, width=width)
    return dataclasses.replace(plan, estimated_minutes=preset.folds * plan.estimated_minutes)


def _steps(preset: Preset, plan: Plan, folder: Path, shards_dir: Path, source: TransferSource | None) -> list[Step]:
    groups_path = None
    if preset.groups is not None:
        groups_path = folder / "groups.json"
        write_text_atomically(groups_path, json.dumps(preset.groups, indent=1) + "\n")
    return planning.run_steps(
        preset, plan, folder, shards_dir, groups_path=groups_path, init_from=source, with_frames=_FRAMES.value
    )


def _measure_speed(state: ReportState) -> None:
    """Measure the speed table once, in this process, while nothing else of the report runs."""
    if state.speed is not None:
        return
    print("\nMeasuring the speed at the paper's size", flush=True)
    cli.import_tensorflow()
    with cli.quiet_libraries():
        from deepvideo_tf.reporting.speed import SPEED_FUSIONS, SPEED_ROUNDS, measure_speed
    began_s = time.monotonic()
    with cli.progress(len(SPEED_FUSIONS) * (1 + SPEED_ROUNDS), "round", "speed") as on_round:
        state.speed = measure_speed(on_round)
    state.seconds["speed"] = time.monotonic() - began_s
    state.save()


def run() -> None:
    cli.run(main)


if __name__ == "__main__":
    run()
