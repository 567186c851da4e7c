"""The pictures of a run that was evaluated, as PNG files beside a list of what they show."""

import json
from pathlib import Path

import numpy as np

from deepvideo_tf.config import FEATURE_HISTOGRAMS, FUSIONS, check_choice, multires_name
from deepvideo_tf.data.input.pipeline import make_evaluation_dataset, naming_damage
from deepvideo_tf.data.input.reader import DEFAULT_MAX_BAD_FRACTION
from deepvideo_tf.errors import ConfigError
from deepvideo_tf.evaluation.class_groups import ucf101_groups
from deepvideo_tf.evaluation.scores import average_scores, read, scores_path
from deepvideo_tf.metrics.hit_at_k import hits_at_k
from deepvideo_tf.metrics.probabilities import probabilities
from deepvideo_tf.models.first_layer import first_layer_filters, stream_views
from deepvideo_tf.runs.checkpoints import find_checkpoint
from deepvideo_tf.runs.run import load_run
from deepvideo_tf.runs.state import read_description
from deepvideo_tf.storage.paths import on_disk
from deepvideo_tf.storage.writes import write_bytes_atomically, write_text_atomically
from deepvideo_tf.visualization import plots
from deepvideo_tf.visualization.saliency import occlusion_saliency

PICTURES = ("filters", "predictions", "curves", "confusion", "ap", "saliency", "views")
OF_ONE_RUN = ("filters", "curves", "saliency", "views")
OF_NETWORKS = ("filters", "saliency", "views")
TWO_STREAM_NAMES = tuple(multires_name(fusion) for fusion in FUSIONS)
CANDIDATES = 400  # videos from the first of the shards on: reading ends with the last chosen one
PREDICTED_VIDEOS, SALIENT_VIDEOS = 8, 3
INDEX_NAME = "pictures.json"


def choose_pictures(names, runs):
    """Which pictures to draw, before anything is computed.

    Args:
        names: of `PICTURES`; or `all`, for those that the run can have.
        runs: folders of the runs whose answers are averaged; one of them where nothing is.

    Returns:
        Tuple of names, in the order of `PICTURES`.

    Raises:
        ConfigError: a name that is none, or of a picture that these runs cannot have.
        ModelFileError: a run cannot be read.
    """
    for run in runs:
        on_disk("with pictures, a run", run)
    missing = _missing(runs)
    if tuple(names) == ("all",):
        return tuple(name for name in PICTURES if name not in missing)
    for name in names:
        check_choice("pictures", name, ("all", *PICTURES))
        if name == "all":
            raise ConfigError(f"pictures must be all, or names. Received: {','.join(names)}")
        if name in missing:
            raise ConfigError(f"pictures cannot have {name}: {missing[name]}")
    return tuple(name for name in PICTURES if name in names)


def _missing(runs):
    """Why some pictures cannot be drawn, by their names."""
    if len(runs) > 1:
        return dict.fromkeys(OF_ONE_RUN, f"it is of one run, and {len(runs)} are averaged here")
    model = read_description(find_checkpoint(runs[0], best=True)).config.model
    missing = {}
    if not (Path(runs[0]) / "history.csv").is_file():
        missing["curves"] = f"{runs[0]} has no history.csv"
    if model == FEATURE_HISTOGRAMS:
        return missing | dict.fromkeys(OF_NETWORKS, f"{runs[0]} is a run of {model}, which is no network over pixels")
    if model not in TWO_STREAM_NAMES:
        missing["views"] = f"{runs[0]} is a run of {model}, which is no two-stream net"
    return missing


def draw_pictures(names, evaluation, shards_dir, folder, *, groups=None, max_bad_fraction=DEFAULT_MAX_BAD_FRACTION):
    """Draws pictures of what was evaluated, and lists them in `pictures.json`.

    Args:
        names: from `choose_pictures`.
        evaluation: from `deepvideo_tf.evaluate`.
        shards_dir: the folder of shards that it was evaluated on.
        folder: where the files go; made if it is not there. Pictures of before that are not drawn now are removed.
        groups: as `evaluate` has it.
        max_bad_fraction: as `evaluate` has it.

    Returns:
        List of dicts of `name`, `file`, `title`, `caption` (what is to be seen, in a sentence with its numbers) and
        `numbers`.

    Raises:
        ModelFileError: a run or its scores cannot be read.
        ShardError: the shards are damaged.
        OSError: a file cannot be written.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    source = _Source(evaluation, shards_dir, groups, max_bad_fraction)
    index = []
    for name in names:
        figure, title, caption, numbers = _DRAWN[name](source)
        write_bytes_atomically(folder / f"{name}.png", plots.to_png(figure))
        index.append({"name": name, "file": f"{name}.png", "title": title, "caption": caption, "numbers": numbers})
    write_text_atomically(folder / INDEX_NAME, json.dumps(index, indent=1, ensure_ascii=False) + "\n")
    for name in set(PICTURES) - set(names):
        (folder / f"{name}.png").unlink(missing_ok=True)
    return index


class _Source:
    """What the pictures are drawn from; what takes long is made when first wanted, and kept."""

    def __init__(self, evaluation, shards_dir, groups, max_bad_fraction):
        self.evaluation = evaluation
        self.shards_dir = shards_dir
        self.max_bad_fraction = max_bad_fraction
        self.groups = groups or ucf101_groups(evaluation["classes"]) or {}
        self._run = self._scores = self._clips = None

    @property
    def what(self):
        """What is judged on what, for titles."""
        runs = self.evaluation["runs"]
        name = self.run.config.model if len(runs) == 1 else f"average of {len(runs)} runs"
        return f"{name}, {self.evaluation['split']} split of {Path(self.shards_dir).absolute().name}, {self.videos}"

    @property
    def videos(self):
        return f"{self.evaluation['videos']} videos"

    @property
    def run(self):
        if self._run is None:
            self._run = load_run(self.evaluation["runs"][0])
        return self._run

    @property
    def scores(self):
        """Those that `evaluate` has left in the runs' folders."""
        if self._scores is None:
            split, runs = self.evaluation["split"], self.evaluation["runs"]
            self._scores = average_scores({run: read(scores_path(run, split)) for run in runs}, folder=runs[0])
        return self._scores

    def answer(self, clips):
        return probabilities(self.run.card, self.run.model.predict_on_batch(self.run.inputs(clips)))

    @property
    def chosen(self):
        """Numbers of the videos that are shown."""
        return choose_videos(self.scores.is_true, self.scores.video_scores, PREDICTED_VIDEOS)

    @property
    def clips(self):
        """The first clip of each video that is shown, uint8 `[video, time, height, width, 3]`."""
        if self._clips is None:
            wanted = [self.scores.video_ids[number] for number in self.chosen]
            found = first_clips(
                self.shards_dir, self.scores.about["split"], self.run.card.clip, wanted, self.max_bad_fraction
            )
            self._clips = np.stack([found[video_id] for video_id in wanted])
        return self._clips


def choose_videos(is_true, scores, count):
    """Right and wrong answers in equal parts, as far as there are both: evenly spaced, so always the same.

    Args:
        is_true: bool `[video, class]`.
        scores: `[video, class]`.
        count: videos in all; those of the shards' first 400 are chosen from.

    Returns:
        List of numbers of videos, the right ones first.
    """
    is_hit = hits_at_k(is_true[:CANDIDATES], scores[:CANDIDATES], 1)
    right, wrong = np.flatnonzero(is_hit), np.flatnonzero(~is_hit)
    wanted_wrong = min(len(wrong), max(count // 2, count - len(right)))
    return _evenly(right, count - wanted_wrong) + _evenly(wrong, wanted_wrong)


def _evenly(numbers, count):
    count = min(count, len(numbers))
    return numbers[((np.arange(count) + 0.5) * len(numbers) / max(count, 1)).astype(int)].tolist()


def first_clips(shards_dir, split, clip, video_ids, max_bad_fraction):
    """The model's clip of the first stored clip of some videos.

    Args:
        shards_dir: the folder of shards.
        split: `train`, `validation` or `test`.
        clip: `ClipSpec`.
        video_ids: the videos.
        max_bad_fraction: as `evaluate` has it.

    Returns:
        Dict from the video's id to uint8 `[time, height, width, 3]`: the central view of section 4.1's test protocol.

    Raises:
        ShardError: the shards are damaged.
    """
    wanted, found = set(video_ids), {}
    dataset = make_evaluation_dataset(shards_dir, split, clip, num_views=1, max_bad_fraction=max_bad_fraction)
    with naming_damage(shards_dir, split):
        for views, _, ids in dataset.as_numpy_iterator():
            for view, video_id in zip(views, ids, strict=True):
                if video_id.decode() in wanted:
                    found.setdefault(video_id.decode(), view[0])
            if len(found) == len(wanted):
                break
    return found


def _filters(source):
    filters = first_layer_filters(source.run.model)
    numbers = {name: round(float(np.nanmean(plots.colourfulness(some))), 4) for name, some in filters.items()}
    title = f"First-layer filters of {source.run.config.model}"
    how = ", ".join(f"{value:.2f} in the {name} stream" for name, value in numbers.items())
    caption = (
        f"The first-layer filters of {source.run.config.model}, whose colourfulness is {how} on average, where 0 is "
        f"grey, 1 a pure hue, and {plots.RANDOM_COLOURFULNESS:.2f} what random filters have."
    )
    return plots.filters(filters, title=title), title, caption, {"colourfulness": numbers}


def _predictions(source):
    scores, chosen = source.scores, source.chosen
    labels = [np.flatnonzero(scores.is_true[number]).tolist() for number in chosen]
    is_hit = hits_at_k(scores.is_true, scores.video_scores, 1)
    right = int(is_hit[chosen].sum())
    title = f"Predictions of {source.what}"
    caption = (
        f"A frame of {len(chosen)} videos, {right} classified right and {len(chosen) - right} wrong, each with its "
        f"likeliest classes as bars and the true one hatched; of all {source.videos}, "
        f"{is_hit.mean():.1%} are classified right."
    )
    figure = plots.predictions(
        source.clips[:, source.clips.shape[1] // 2],
        scores.video_scores[chosen],
        labels,
        scores.classes,
        names=[_short(scores.video_ids[number]) for number in chosen],
        title=title,
    )
    return figure, title, caption, {"right": right, "wrong": len(chosen) - right}


def _short(video_id):
    return video_id.rpartition("/")[2]


def _curves(source):
    history = plots.read_history(Path(source.evaluation["runs"][0]) / "history.csv")
    title = f"Training of {source.run.config.model}"
    last = {name: values[-1] for name, values in history.items() if name != "epoch"}
    told = [f"{plots.CURVES[name]} {last[name]:.3g}" for name in ("loss", "hit_at_1") if name in last]
    told += [
        f"validation {plots.CURVES[name]} {last[f'val_{name}']:.3g}"
        for name in ("loss", "hit_at_1")
        if f"val_{name}" in last
    ]
    epochs = len(next(iter(history.values())))
    caption = f"Loss, Hit@1 and learning rate over {epochs} epochs; in the last one {', '.join(told)}."
    return plots.curves(history, title=title), title, caption, {"epochs": epochs, "last": last}


def _confusion(source):
    classes = list(source.evaluation["classes"])
    counts = np.array(source.evaluation["confusion"])
    right, all_labels = int(np.trace(counts)), int(counts.sum())
    title = f"Confusion of {source.what}"
    pairs = source.evaluation["most_confused"]
    worst = (
        f"most often, {pairs[0]['true']} is taken for {pairs[0]['predicted']}, {pairs[0]['videos']} times"
        if pairs
        else "none is mistaken"
    )
    caption = f"Confusion matrix of {len(classes)} classes: {right} of {all_labels} labels on the diagonal; {worst}."
    return plots.confusion(counts, classes, title=title), title, caption, {"diagonal": right, "labels": all_labels}


def _ap(source):
    evaluation = source.evaluation
    ap = {name: of_class["ap"] for name, of_class in evaluation["classes"].items()}
    ranked = [name for _, _, names in plots.ranked_by_group(ap) for name in names if ap[name] is not None]
    title = f"Average precision of {source.what}"
    best, worst = ranked[0], ranked[-1]
    caption = (
        f"Average precision of {len(ranked)} classes, from {ap[best]:.2f} ({best}) down to {ap[worst]:.2f} ({worst}); "
        f"the mean is {evaluation['map']:.2f}, chance {evaluation['chance']['map']:.2f}."
    )
    numbers = {"map": evaluation["map"], "map_by_group": evaluation["map_by_group"]}
    return plots.average_precision(ap, groups=source.groups, title=title), title, caption, numbers


def _saliency(source):
    scores, chosen = source.scores, source.chosen
    places = _evenly(np.arange(len(chosen)), SALIENT_VIDEOS)
    found, captions, numbers = [], [], []
    for place in places:
        clip, number = source.clips[place], chosen[place]
        target = int(source.answer(clip[None])[0].argmax())
        found.append(occlusion_saliency(source.answer, clip, target))
        true = " and ".join(scores.classes[label] for label in np.flatnonzero(scores.is_true[number]))
        predicted, probability = scores.classes[target], found[-1].probability
        mark = "✓" if scores.is_true[number, target] else "✗"
        captions.append(f"{mark} {_short(scores.video_ids[number])}: {predicted} {probability:.2f}, true: {true}")
        numbers.append(_saliency_numbers(scores.video_ids[number], predicted, found[-1]))
    title = f"What the answer depends on: {source.run.config.model}, a clip of each of {len(places)} videos"
    caption = "Clips whose regions are the lighter the more the answer needs them: " + "; ".join(
        f"{_short(one['video_id'])} is taken for {one['predicted']} with {one['probability']:.2f}, which falls by at "
        f"most {one['largest_fall']:.3g} when one region is hidden, and by {one['largest_frame_fall']:.3g} when frame "
        f"{one['frame']} is"
        for one in numbers
    )
    figure = plots.saliency(source.clips[places], found, captions=captions, title=title)
    return figure, title, f"{caption}.", {"clips": numbers}


def _saliency_numbers(video_id, predicted, found):
    frame = int(found.by_frame.argmax())
    return {
        "video_id": video_id,
        "predicted": predicted,
        "probability": round(found.probability, 4),
        "largest_fall": round(float(found.by_region.max()), 7),
        "frame": frame + 1,
        "largest_frame_fall": round(float(found.by_frame[frame]), 7),
    }


def _views(source):
    clip = source.clips[0]
    found = {name: of_clips[0] for name, of_clips in stream_views(source.run.model, clip[None]).items()}
    sizes_px = {name: view.shape[1] for name, view in found.items()}
    title = f"What the streams of {source.run.config.model} see of {_short(source.scores.video_ids[source.chosen[0]])}"
    caption = (
        f"A clip of {clip.shape[1]} x {clip.shape[2]} px, and what each stream sees of it: "
        + ", ".join(f"the {name} {size} x {size} px" for name, size in sizes_px.items())
        + "."
    )
    return plots.views(clip, found, title=title), title, caption, {"clip_px": clip.shape[1], "views_px": sizes_px}


_DRAWN = {
    "filters": _filters,
    "predictions": _predictions,
    "curves": _curves,
    "confusion": _confusion,
    "ap": _ap,
    "saliency": _saliency,
    "views": _views,
}
