"""The commands of a report, and the size of its models that fits into the available time."""

import shlex
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepvideo_tf.config import FINETUNE_MODES, MODEL_CLIPS, check_choice
from deepvideo_tf.data.shards.manifest import Manifest, read_manifest
from deepvideo_tf.errors import ConfigError
from deepvideo_tf.reporting.paper import AVERAGED
from deepvideo_tf.reporting.presets import NETWORKS, Preset
from deepvideo_tf.storage.paths import PathLike

WIDTHS = (1.0, 0.5, 0.25, 0.125)
BATCH_SIZE, TIMED_STEPS = 32, 4
NUM_VIEWS = 4  # of deepvideo-evaluate, section 4.1
MOTION_PASSES = 4  # the frames as they are, shuffled, reversed, frozen
CACHED_EPOCHS = 2  # cost of the features of --finetune=top and top3, 4 views forward only, in epochs of training
# Measured on 2 cores; a guess elsewhere.
COMMAND_S, SPEED_TABLE_S, HISTOGRAM_FRAMES_PER_S = 15, 60, 600
PAPERS_FRAME_SIZE_PX = 200
FRAME_PICTURES = ("predictions", "saliency", "views")  # those that show frames of the videos
PICTURES = {
    "slow_fusion": ("filters", "predictions", "curves", "confusion", "ap", "saliency"),
    "multires": ("filters", "views"),
}


@dataclass(frozen=True)
class Plan:
    """The size of a report.

    Args:
        width: scale of all filters and hidden units of the networks; 1 is the paper's.
        num_epochs: passes over the training shards.
        budget_minutes: the available time.
        estimated_minutes: the time it is expected to take.
    """

    width: float
    num_epochs: int
    budget_minutes: float
    estimated_minutes: float


@dataclass(frozen=True)
class Step:
    """A command of a report.

    Args:
        name: its purpose.
        program: `deepvideo-...`.
        arguments: its flags.
        makes: the file or folder that exists when it is done.
    """

    name: str
    program: str
    arguments: tuple[str, ...]
    makes: Path

    @property
    def command(self) -> str:
        """The command for a shell."""
        return shlex.join([self.program, *self.arguments])


def make_plan(
    preset: Preset, shards_dir: PathLike, budget_minutes: float, *, left_s: float, width: float | None = None
) -> Plan:
    """Choose width and epochs: the widest networks that can be trained in time for the preset's number of epochs.

    If even the narrowest cannot, as many epochs as fit, at least one. A few training steps of slow fusion, the slowest,
    are timed at each width; the other models are assumed to be faster in proportion to their multiply-adds. There is
    time for Table 3, whether or not there is a network to fine-tune yet.

    Args:
        preset: the data set.
        shards_dir: the folder of its shards, of the first fold.
        budget_minutes: the time for the whole report.
        left_s: seconds of it that are left for one fold.
        width: the required width; None to choose one.

    Returns:
        A `Plan`.
    """
    train, test = (read_manifest(shards_dir, split) for split in ("train", "test"))
    frames = _histogram_flag(preset, "num_frames", 16) * (
        train.records * _histogram_flag(preset, "cached_views", NUM_VIEWS) + test.records * NUM_VIEWS
    )
    runs = len(NETWORKS) + 2 + len(FINETUNE_MODES)
    fixed_s = frames / HISTOGRAM_FRAMES_PER_S + SPEED_TABLE_S + 2 * runs * COMMAND_S
    for candidate in WIDTHS if width is None else (width,):
        epoch_s, evaluation_s = estimate_seconds(train, test, candidate)
        needed_s = fixed_s + preset.num_epochs * epoch_s + evaluation_s
        if needed_s <= left_s:
            return Plan(candidate, preset.num_epochs, budget_minutes, needed_s / 60)
    epochs = min(preset.num_epochs, max(1, int((left_s - fixed_s - evaluation_s) / epoch_s)))
    return Plan(candidate, epochs, budget_minutes, (fixed_s + epochs * epoch_s + evaluation_s) / 60)


def _histogram_flag(preset: Preset, name: str, default: int) -> int:
    """Return a preset's flag for the feature histograms, or the default of `deepvideo-train`."""
    flags = dict(flag.removeprefix("--").split("=") for flag in preset.flags_by_model.get("feature_histograms", ()))
    return int(flags.get(name, default))


def estimate_seconds(train: Manifest, test: Manifest, width: float) -> tuple[float, float]:
    """Estimate the seconds of an epoch of all networks together, and of everything that does not grow with the epochs.

    Args:
        train: manifest of the training shards.
        test: manifest of the test shards.
        width: width of the networks.

    Returns:
        Both numbers of seconds.
    """
    from deepvideo_tf.models.description import describe
    from deepvideo_tf.models.registry import build_model
    from deepvideo_tf.reporting.speed import TimedModel

    def arguments(name: str) -> dict[str, Any]:
        return {"width": width, "crop_size_px": crop_size_px(name, train.spec.frame_size_px)}

    classes = len(train.classes)
    slowest = TimedModel("slow_fusion", BATCH_SIZE, num_classes=classes, **arguments("slow_fusion"))
    for _ in range(1 + TIMED_STEPS):
        slowest.step()
    clip_s = statistics.median(slowest.train_s[1:]) / BATCH_SIZE
    answer_s = statistics.median(slowest.answer_s[1:]) / BATCH_SIZE
    work = {
        name: sum(layer.multiply_adds for layer in describe(build_model(name, classes, **arguments(name))))
        / slowest.multiply_adds
        for name in NETWORKS
    }
    # Besides each network once, slow fusion is fine-tuned, all of it once and its top twice, and evaluated three times.
    trained = sum(work.values()) + 1
    evaluated = sum(work.values()) + (MOTION_PASSES - 1) + 3
    epoch_s = train.records * clip_s
    return trained * epoch_s, evaluated * NUM_VIEWS * test.records * answer_s + 2 * CACHED_EPOCHS * epoch_s


def crop_size_px(model: str, frame_size_px: int) -> int:
    """Return the crop of stored frames that a model gets: the paper's fraction, 170 or 178 of 200 px (section 3.3).

    Args:
        model: the name of a model.
        frame_size_px: height and width of the stored frames.

    Returns:
        Height and width of the crop, an even number.
    """
    paper_px = MODEL_CLIPS[model].crop_size_px if model in MODEL_CLIPS else MODEL_CLIPS["single_frame"].crop_size_px
    return min(frame_size_px, 2 * -(-paper_px * frame_size_px // (2 * PAPERS_FRAME_SIZE_PX)))


def build_steps(preset: Preset, data_dir: PathLike | None, shards_dir: str | Path, fold: int) -> list[Step]:
    """Return the commands that build the shards of a preset.

    Args:
        preset: the data set.
        data_dir: the folder of its data.
        shards_dir: the folder for the shards.
        fold: the number of the fold, from 1.

    Returns:
        List of `Step`.
    """
    steps = []
    for flags in preset.builds:
        filled = [flag.format(data=data_dir, fold=fold) for flag in flags]
        split = next((flag.removeprefix("--split=") for flag in flags if flag.startswith("--split=")), "test")
        arguments = (*filled, f"--shards_dir={shards_dir}", *preset.shard_flags)
        makes = Path(shards_dir) / f"{split}-manifest.json"
        steps.append(Step(f"{split} shards", "deepvideo-build-shards", arguments, makes))
    return steps


def run_steps(
    preset: Preset,
    plan: Plan,
    folder: str | Path,
    shards_dir: str | Path,
    *,
    groups_path: Path | None = None,
    init_from: "TransferSource | None" = None,
    with_frames: bool = True,
) -> list[Step]:
    """Return the commands that train and evaluate everything in the tables, in their order.

    Args:
        preset: the data set.
        plan: the size.
        folder: where the runs go, each to `runs/<name>`.
        shards_dir: the folder of shards.
        groups_path: a file of groups of classes, or None.
        init_from: the run to fine-tune, or None to leave out Table 3.
        with_frames: whether pictures may show frames of the videos.

    Returns:
        List of `Step`.
    """
    manifest = read_manifest(shards_dir, "train")
    runs = Path(folder) / "runs"
    groups = () if groups_path is None else (f"--groups={groups_path}",)
    # A small data set has few steps: if all were warm-up, nothing would be learned.
    warmup_steps = min(preset.warmup_steps, plan.num_epochs * manifest.records // BATCH_SIZE // 10)

    def train(name: str, model: str, *flags: str, width: float = plan.width) -> Step:
        arguments = (
            f"--shards_dir={shards_dir}",
            f"--workdir={runs / name}",
            f"--model={model}",
            f"--width={width:g}",
            f"--crop_size_px={crop_size_px(model, manifest.spec.frame_size_px)}",
            f"--num_epochs={plan.num_epochs}",
            *preset.train_flags,
            *([f"--warmup_steps={warmup_steps}"] if warmup_steps else []),
            *preset.flags_by_model.get(model, ()),
            *flags,
        )
        return Step(f"{name}: training", "deepvideo-train", arguments, runs / name / "checkpoints")

    def evaluate(name: str, *flags: str) -> Step:
        pictures = [name for name in PICTURES.get(name, ()) if with_frames or name not in FRAME_PICTURES]
        arguments = (
            f"--workdir={runs / name}",
            f"--shards_dir={shards_dir}",
            *groups,
            *flags,
            *([f"--pictures={','.join(pictures)}"] if pictures else []),
        )
        return Step(f"{name}: evaluation", "deepvideo-evaluate", arguments, runs / name / "evaluation-test.json")

    def rate(model: str) -> str:
        rates = preset.learning_rates
        return f"--learning_rate={rates.get(model, rates['single_frame'])}"

    steps = []
    for name in ("feature_histograms", *NETWORKS):
        is_slow = name == "slow_fusion"
        against = (f"--against={runs / 'single_frame'}", "--motion") if is_slow else ()
        steps += [train(name, name, rate(name)), evaluate(name, *against)]
    steps.append(evaluate("average", f"--ensemble={','.join(str(runs / name) for name in AVERAGED)}"))
    if init_from is None:
        return steps
    for mode in transfer_runs(plan, init_from):
        name, flags = f"transfer_{mode}", (f"--init_from={init_from.workdir}", f"--finetune={mode}")
        learning_rate = rate(init_from.model) if mode == "scratch" else f"--learning_rate={preset.transfer_rate}"
        steps += [train(name, init_from.model, *flags, learning_rate, width=init_from.width), evaluate(name)]
    return steps


@dataclass(frozen=True)
class TransferSource:
    """A trained run to fine-tune (Table 3).

    Args:
        workdir: its folder.
        model: the name of its model.
        width: its width.
    """

    workdir: Path
    model: str
    width: float


def transfer_runs(plan: Plan, init_from: TransferSource) -> list[str]:
    """Return the modes of Table 3 that need their own run: from scratch, Table 1 may have the same one.

    Args:
        plan: the size.
        init_from: the run to fine-tune.

    Returns:
        List of `FINETUNE_MODES`.
    """
    has_twin = init_from.width == plan.width
    return [mode for mode in FINETUNE_MODES if not (mode == "scratch" and has_twin)]


def read_transfer_source(workdir: str | Path, frame_size_px: int) -> TransferSource:
    """Read what a run is that will be fine-tuned.

    Args:
        workdir: the folder of a trained run.
        frame_size_px: height and width of the stored frames of the shards to fine-tune it on.

    Returns:
        A `TransferSource`.

    Raises:
        ModelFileError: there is no trained run.
        ConfigError: it is not a network of the paper, or has crops of another size.
    """
    from deepvideo_tf.runs.checkpoints import find_checkpoint
    from deepvideo_tf.runs.state import read_description

    config = read_description(find_checkpoint(workdir, best=True)).config
    check_choice(f"{workdir}: the run's model", config.model, NETWORKS)
    expected = crop_size_px(config.model, frame_size_px)
    if config.clip.crop_size_px != expected:
        raise ConfigError(
            f"{workdir}: expected a run that sees {expected} px of the {frame_size_px} px frames of these shards. "
            f"Received: one of {config.clip.crop_size_px} px"
        )
    return TransferSource(Path(workdir), config.model, config.width)
