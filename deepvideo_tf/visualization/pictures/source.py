"""What pictures are drawn from, and the reasons why a run cannot have one."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from deepvideo_tf.config import ClipSpec
from deepvideo_tf.data.input.pipeline import make_evaluation_dataset, naming_damage
from deepvideo_tf.data.input.reader import DEFAULT_MAX_BAD_FRACTION
from deepvideo_tf.evaluation.averages import average_scores
from deepvideo_tf.evaluation.class_groups import ucf101_groups
from deepvideo_tf.evaluation.scores import Scores, read, scores_path
from deepvideo_tf.metrics.hit_at_k import hits_at_k
from deepvideo_tf.metrics.probabilities import probabilities
from deepvideo_tf.models.info import ModelInfo
from deepvideo_tf.runs.run import Run, load_run
from deepvideo_tf.storage.paths import PathLike
from deepvideo_tf.visualization.plots.figure import Figure

CANDIDATES = 400  # videos from the start of the shards: reading ends with the last chosen one
SHOWN_VIDEOS = 8


class Picture(NamedTuple):
    """A drawn picture: what it shows in a sentence with its numbers, and these numbers, ready for JSON."""

    figure: Figure
    title: str
    caption: str
    numbers: dict[str, Any]


@dataclass(frozen=True, eq=False)
class Source:
    """What pictures are drawn from; what takes long is computed when first used.

    Args:
        evaluation: from `deepvideo_tf.evaluate`.
        shards_dir: the folder of shards that it was evaluated on.
        given_groups: lists of class names by group; None or empty for the paper's, if the classes are UCF-101's.
        max_bad_fraction: the fraction of the stored clips that may be damaged.
    """

    evaluation: Mapping[str, Any]
    shards_dir: PathLike
    given_groups: Mapping[str, Sequence[str]] | None = None
    max_bad_fraction: float = DEFAULT_MAX_BAD_FRACTION

    @property
    def what(self) -> str:
        """What is evaluated on what, for titles."""
        runs = self.evaluation["runs"]
        name = self.run.config.model if len(runs) == 1 else f"average of {len(runs)} runs"
        return (
            f"{name}, {self.evaluation['split']} split of {Path(str(self.shards_dir)).absolute().name}, {self.videos}"
        )

    @property
    def videos(self) -> str:
        """The number of videos."""
        return f"{self.evaluation['videos']} videos"

    @property
    def groups(self) -> Mapping[str, Sequence[str]]:
        """Groups of classes."""
        return self.given_groups or ucf101_groups(list(self.evaluation["classes"])) or {}

    @cached_property
    def run(self) -> Run:
        """The first of the runs."""
        return load_run(self.evaluation["runs"][0])

    @cached_property
    def scores(self) -> Scores:
        """The scores that `evaluate` has left in the runs' folders, averaged."""
        split, runs = self.evaluation["split"], self.evaluation["runs"]
        return average_scores({run: read(scores_path(run, split)) for run in runs}, folder=runs[0])

    def probabilities(self, clips: np.ndarray) -> np.ndarray:
        """Return the probabilities, `[clip, class]`, of uint8 clips `[clip, time, height, width, 3]`."""
        return probabilities(self.run.card, self.run.model.predict_on_batch(self.run.inputs(clips)))

    @cached_property
    def chosen(self) -> list[int]:
        """Indices of the videos that are shown."""
        return choose_videos(self.scores.is_true, self.scores.video_scores, SHOWN_VIDEOS)

    @cached_property
    def clips(self) -> np.ndarray:
        """The first clip of each video that is shown, uint8 `[video, time, height, width, 3]`."""
        wanted = [self.scores.video_ids[number] for number in self.chosen]
        split, clip = self.scores.about["split"], self.run.card.clip
        found = first_clips(self.shards_dir, split, clip, wanted, self.max_bad_fraction)
        return np.stack([found[video_id] for video_id in wanted])


def choose_videos(is_true: np.ndarray, scores: np.ndarray, count: int) -> list[int]:
    """Choose right and wrong predictions in equal numbers, if there are both: evenly spaced, so always the same.

    Args:
        is_true: bool `[video, class]`.
        scores: `[video, class]`.
        count: number of videos, chosen from the shards' first 400.

    Returns:
        Indices of videos, the right ones first.
    """
    is_hit = hits_at_k(is_true[:CANDIDATES], scores[:CANDIDATES], 1)
    right, wrong = np.flatnonzero(is_hit), np.flatnonzero(~is_hit)
    wanted_wrong = min(len(wrong), max(count // 2, count - len(right)))
    return evenly_spaced(right, count - wanted_wrong) + evenly_spaced(wrong, wanted_wrong)


def evenly_spaced(numbers: np.ndarray, count: int) -> list[int]:
    """Return `count` of the numbers, evenly spaced; all if there are fewer."""
    count = min(count, len(numbers))
    return numbers[((np.arange(count) + 0.5) * len(numbers) / max(count, 1)).astype(int)].tolist()


def first_clips(
    shards_dir: PathLike, split: str, clip: ClipSpec, video_ids: Iterable[str], max_bad_fraction: float
) -> dict[str, np.ndarray]:
    """Read the model's clip of the first stored clip of some videos.

    Args:
        shards_dir: the folder of shards.
        split: `train`, `validation` or `test`.
        clip: the model's clip.
        video_ids: the videos.
        max_bad_fraction: the fraction of the stored clips that may be damaged.

    Returns:
        Dict from the video's id to uint8 `[time, height, width, 3]`: the central view of section 4.1's test protocol.

    Raises:
        ShardError: the shards are damaged.
    """
    wanted, found = set(video_ids), dict[str, np.ndarray]()
    dataset = make_evaluation_dataset(shards_dir, split, clip, num_views=1, max_bad_fraction=max_bad_fraction)
    with naming_damage(shards_dir, split):
        for views, _, ids in dataset.as_numpy_iterator():
            for view, video_id in zip(views, ids, strict=True):
                if video_id.decode() in wanted:
                    found.setdefault(video_id.decode(), view[0])
            if len(found) == len(wanted):
                break
    return found


def short_name(video_id: str) -> str:
    """Return a video's id without its folders."""
    return video_id.rpartition("/")[2]


def no_obstacle(runs: Sequence[PathLike], info: ModelInfo) -> str | None:
    """Return None: every run can have the picture."""
    del runs, info
    return None


def one_run_only(runs: Sequence[PathLike], info: ModelInfo) -> str | None:
    """Return the obstacle to a picture of one run, if there are several."""
    del info
    return f"it is of one run, and {len(runs)} are averaged here" if len(runs) > 1 else None


def networks_only(runs: Sequence[PathLike], info: ModelInfo) -> str | None:
    """Return the obstacle to a picture of one network over pixels, if the model is not one."""
    is_network = bool(info.first_convs)
    no_network = None if is_network else f"{runs[0]} is a run of {info.name}, which is no network over pixels"
    return one_run_only(runs, info) or no_network
