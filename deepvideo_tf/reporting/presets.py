"""The data sets of a report: where their lists are, how clips are cut, how models are trained."""

from collections.abc import Mapping
from dataclasses import dataclass, field

NETWORKS = ("single_frame", "multires", "fovea", "context", "early_fusion", "late_fusion", "slow_fusion")


@dataclass(frozen=True)
class Preset:
    """A data set, and how it is trained on.

    Args:
        title: its name on the page.
        about: a sentence or two on the videos, and whether they are the paper's.
        builds: the flags of each `deepvideo-build-shards`; `{data}` is replaced by the folder of the data, `{fold}` by
            the number of the fold.
        shard_flags: further flags, for all splits.
        folds: 1, or the number of official folds over which results are averaged.
        train_flags: flags of `deepvideo-train` for all models.
        warmup_steps: the most warm-up steps of the learning rate; never more than a tenth of all steps.
        flags_by_model: further flags for some models.
        learning_rates: by model; the single-frame network's for models that are missing.
        transfer_rate: learning rate for fine-tuning (Table 3).
        num_epochs: passes over the shards, if there is time.
        groups: lists of class names by group (Table 4); None for UCF-101's, if the classes are.
        is_synthetic: whether the videos are rendered by this package.
    """

    title: str
    about: str
    builds: tuple[tuple[str, ...], ...] = ()
    shard_flags: tuple[str, ...] = ()
    folds: int = 1
    train_flags: tuple[str, ...] = ("--optimizer=adamw", "--schedule=cosine")
    warmup_steps: int = 100
    flags_by_model: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    learning_rates: dict[str, str] = field(
        default_factory=lambda: {"feature_histograms": "1e-3", "single_frame": "4e-4"}
    )
    transfer_rate: str = "4e-4"
    num_epochs: int = 20
    groups: dict[str, list[str]] | None = None
    is_synthetic: bool = False


def _lists(train: str, test: str) -> tuple[tuple[str, ...], ...]:
    """Return the flags for a training and a test list of `--format=list`."""
    where = ["--format=list", "--classes={data}/classes.txt", "--video_root={data}/videos"]
    return tuple(
        (f"--split={split}", "--annotations={data}/" + name, *where)
        for split, name in (("train", train), ("test", test))
    )


SYNTHETIC = Preset(
    title="Synthetic videos",
    about="Synthetic videos, rendered by deepvideo-make-synthetic: textures that drift; the class is the direction. "
    "They show that everything works, and nothing about real videos.",
    builds=(("--format=folder", "--video_root={data}", "--holdout_fraction=0.25"),),
    shard_flags=("--clips_per_video=6", "--frame_size_px=100"),
    train_flags=("--noflip", "--optimizer=adamw", "--schedule=cosine"),
    warmup_steps=0,
    flags_by_model={"feature_histograms": ("--cached_views=1",)},
    learning_rates={"feature_histograms": "1e-3", "single_frame": "3e-4"},
    transfer_rate="3e-4",
    num_epochs=10,
    is_synthetic=True,
)

# The rates of the two small real sets were chosen on videos held out of training (docs/learning.md).
UCF101_6 = Preset(
    title="Six classes of UCF-101",
    about="Six classes of UCF-101 (Archery, BasketballDunk, HorseRace, PlayingPiano, PlayingViolin, Surfing): the "
    "official split 1, the first two clips of each group. Not the paper's data: its Tables 1 and 2 are of Sports-1M, "
    "its Tables 3 and 4 of all 101 classes.",
    builds=_lists("trainlist01.txt", "testlist01.txt"),
    shard_flags=("--clips_per_video=8", "--frame_size_px=100"),
    train_flags=("--optimizer=adamw", "--schedule=cosine"),
    warmup_steps=0,
    flags_by_model={"feature_histograms": ("--hidden_layers=2",)} | dict.fromkeys(NETWORKS, ("--weight_decay=0.3",)),
    learning_rates={"feature_histograms": "3e-4", "single_frame": "1e-3"},
    transfer_rate="1e-3",
)

_EVERY_THIRD = ("--frame_stride=3",)

UTD_DEPTH = Preset(
    title="UTD-MHAD, depth videos",
    about="The depth videos of UTD-MHAD: 27 actions of 8 people before one wall and one camera; odd persons to train "
    "on, even ones to test. Not the paper's data: its Tables 1 and 2 are of Sports-1M, its Tables 3 and 4 of UCF-101.",
    builds=_lists("trainlist.txt", "testlist.txt"),
    shard_flags=("--clips_per_video=6", "--clip_frames=32", "--frame_size_px=100"),
    # A swipe to the left and one to the right are two classes.
    train_flags=("--noflip", "--optimizer=adamw", "--schedule=cosine"),
    flags_by_model={
        "feature_histograms": ("--num_frames=16", "--frame_stride=2", "--cached_views=1"),
        "early_fusion": _EVERY_THIRD,
        "slow_fusion": _EVERY_THIRD,
    },
    learning_rates={"feature_histograms": "3e-3", "single_frame": "8e-4"}
    | dict.fromkeys(("late_fusion", "slow_fusion"), "4e-4")
    # At 4e-4 its training loss does not fall.
    | {"early_fusion": "2e-4"},
    groups={
        "one arm": [
            "swipe_left", "swipe_right", "wave", "throw", "draw_x", "draw_circle_cw", "draw_circle_ccw",
            "draw_triangle", "bowling", "tennis_swing", "tennis_serve", "knock", "catch",
        ],
        "both arms": ["clap", "arm_cross", "basketball_shoot", "boxing", "baseball_swing", "arm_curl", "push"],
        "whole body": ["pickup_throw", "jog", "walk", "sit2stand", "stand2sit", "lunge", "squat"],
    },
)  # fmt: skip

UCF101 = Preset(
    title="UCF-101",
    about="UCF-101, all 101 classes, the mean over the three official folds. The paper's Tables 3 and 4 are of the "
    "same videos; its Tables 1 and 2 are of Sports-1M.",
    builds=tuple(
        (
            f"--split={split}",
            "--format=ucf101",
            "--annotations={data}/ucfTrainTestlist",
            "--fold={fold}",
            "--video_root={data}/UCF-101",
        )
        for split in ("train", "test")
    ),
    shard_flags=("--clips_per_video=50",),  # section 4.2
    folds=3,
)

SPORTS_1M = Preset(
    title="Sports-1M",
    about="Sports-1M, as many of its videos as there were. The paper's Tables 1 and 2 are of a million of them, its "
    "Tables 3 and 4 of UCF-101.",
    builds=tuple(
        (f"--split={split}", "--format=sports1m", "--annotations={data}/" + f"{split}_partition.txt",
         "--classes={data}/labels.txt", "--video_root={data}/videos")
        for split in ("train", "test")
    ),
)  # fmt: skip

PRESETS = {
    "synthetic": SYNTHETIC,
    "ucf101-6": UCF101_6,
    "utd-depth": UTD_DEPTH,
    "ucf101": UCF101,
    "sports1m": SPORTS_1M,
}
