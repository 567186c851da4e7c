"""What a run answers for each clip and each video of some shards, computed once and kept in a file.

Clip scores may be many times larger than memory: they are written to the disk as they come, and mapped, not read.
"""

import contextlib
import json
import logging
import os
import struct
import tempfile
import zipfile
from array import array
from dataclasses import dataclass

import numpy as np

from deepvideo_tf.config import check_int
from deepvideo_tf.data.input.pipeline import check_clip, make_evaluation_dataset, naming_damage
from deepvideo_tf.data.input.reader import DEFAULT_MAX_BAD_FRACTION
from deepvideo_tf.data.sampling import MAX_VIEWS
from deepvideo_tf.data.shards.manifest import check_card, read_manifest
from deepvideo_tf.errors import ModelFileError, ShardError, first_line
from deepvideo_tf.metrics.probabilities import probabilities
from deepvideo_tf.runs.run import load_run
from deepvideo_tf.storage.files import scratch_dir, working_copy
from deepvideo_tf.storage.paths import to_path
from deepvideo_tf.storage.writes import staged_file

logger = logging.getLogger(__name__)

FORWARD = "forward"
MOTION_ORDERS = ("shuffled", "reversed", "frozen")
SHUFFLING_SEED = 0
_VERSION = 1  # of what `score_run` computes: files of another one are computed anew
_SMALL_ARRAYS = ("about", "video_ids", "classes", "is_true", "video_scores", "clip_videos")
_CHUNK_VALUES = 1 << 22


@dataclass(frozen=True, eq=False)
class Scores:
    """What was answered for each clip and each video of a split.

    Args:
        video_ids: ids of the videos, in the order of the shards.
        classes: class names, in the order of the scores.
        is_true: bool `[video, class]`.
        video_scores: float64 `[video, class]`, the mean of the video's clips.
        clip_scores: float32 `[clip, class]`, the mean of the clip's views; mapped from the disk.
        clip_videos: int64 `[clip]`, the number of the clip's video.
        about: what they were computed from: `split`, `shards_fingerprint`, `shards_sha256`, `models` (the names of the
            checkpoints, which hold a hash of their content), `num_views`, `time_order` (one of `forward`, `shuffled`,
            `reversed`, `frozen`).
    """

    video_ids: tuple[str, ...]
    classes: tuple[str, ...]
    is_true: np.ndarray
    video_scores: np.ndarray
    clip_scores: np.ndarray
    clip_videos: np.ndarray
    about: dict


def scores_path(workdir, split, time_order=FORWARD):
    """Where the scores of a run stand."""
    ending = "" if time_order == FORWARD else f"-{time_order}"
    return to_path(workdir) / f"scores-{split}{ending}.npz"


def score_run(
    workdir,
    shards_dir,
    *,
    split="test",
    num_views=4,
    time_orders=(FORWARD,),
    batch_size=8,
    max_bad_fraction=DEFAULT_MAX_BAD_FRACTION,
    on_batch=None,
):
    """Scores every clip and video of a split, or reads the scores that the run's folder holds of them.

    The probabilities of a clip's views are averaged into the clip's, the clips' into the video's (section 4.1). Each
    order of time has a file of its own in the run's folder; all that are missing are computed in one pass over the
    shards. A file is used again if it is whole and was computed by the same checkpoint from the same shards and views.

    Args:
        workdir: the run's folder.
        shards_dir: the folder of shards.
        split: `train`, `validation` or `test`.
        num_views: crops and mirrorings of each clip, 1 to 5; 4 in the paper.
        time_orders: the orders in which the model sees the frames of a clip: `forward`; `shuffled`, by a permutation
            that is drawn for each clip and never the identity; `reversed`; `frozen`, the middle frame repeated.
        batch_size: stored clips in a batch.
        max_bad_fraction: the part of the stored clips that may be damaged, and are skipped with a warning.
        on_batch: called with the number of clips after each batch, for a progress bar.

    Returns:
        Dict from the order of time to `Scores`. A model of one frame has the order `forward` alone.

    Raises:
        ModelFileError: the run cannot be loaded or written to, answers no numbers, or was trained on clips of another
            size or rate.
        ShardError: the shards are missing, unfinished or damaged, or have other classes or another order of them.
        ConfigError: an argument is outside its range, or the shards cannot give such clips.
    """
    check_int("num_views", num_views, 1, MAX_VIEWS)
    manifest = read_manifest(shards_dir, split)
    run = load_fitting_run(workdir, shards_dir, manifest)
    if run.card.clip.num_frames == 1:
        time_orders = (FORWARD,)
    abouts = {order: _about(run, manifest, num_views, order) for order in time_orders}
    found = {order: _kept(scores_path(workdir, split, order), abouts[order], manifest) for order in time_orders}
    missing = [order for order in time_orders if found[order] is None]
    if not missing and on_batch is not None:
        on_batch(manifest.records)
    if missing:
        dataset = make_evaluation_dataset(
            shards_dir,
            split,
            run.card.clip,
            batch_size=batch_size,
            num_views=num_views,
            max_bad_fraction=max_bad_fraction,
        )
        with naming_damage(shards_dir, split):
            computed = _compute(workdir, run, dataset, {order: abouts[order] for order in missing}, on_batch)
        for order in missing:
            save(computed[order], scores_path(workdir, split, order))
            found[order] = computed[order]
    return found


def load_fitting_run(workdir, shards_dir, manifest):
    """Loads a run, and refuses shards that its model cannot be judged on.

    Args:
        workdir: the run's folder.
        shards_dir: the folder of shards, for messages.
        manifest: of the shards.

    Returns:
        `Run`.

    Raises:
        ModelFileError: the run cannot be loaded, or was trained on clips of another size or rate.
        ShardError: the shards have other classes or another order of them.
        ConfigError: the shards cannot give the model's clips.
    """
    run = load_run(workdir)
    check_card(workdir, run.card, shards_dir, manifest)
    check_clip(manifest, run.card.clip, shards_dir)
    return run


def _about(run, manifest, num_views, time_order):
    return {
        "version": _VERSION,
        "split": manifest.split,
        "shards_fingerprint": manifest.fingerprint,
        "shards_sha256": manifest.content_sha256,
        "models": [run.checkpoint.name],
        "num_views": num_views,
        "time_order": time_order,
    }


def _kept(path, about, manifest):
    """The scores in a file, or None where they must be computed."""
    if not path.exists():
        return None
    try:
        scores = read(path)
    except ModelFileError as error:
        logger.warning("%s; computed anew", error)
        return None
    changed = ", ".join(name for name in about if scores.about.get(name) != about[name])
    if changed:
        logger.warning("%s: holds scores of something else (%s); computed anew", path, changed)
        return None
    if len(scores.clip_scores) < manifest.records:
        logger.warning("%s: lacks clips that were damaged; computed anew", path)
        return None
    return scores


def _compute(workdir, run, dataset, abouts, on_batch):
    """Scores in all orders of time, from one pass."""
    numbers: dict[str, int] = {}
    is_true, clip_videos = [], array("q")
    with _writing_to(workdir), contextlib.ExitStack() as stack:
        files = {order: stack.enter_context(tempfile.TemporaryFile(dir=scratch_dir(workdir))) for order in abouts}
        for views, targets, ids in dataset.as_numpy_iterator():
            for order, file in files.items():
                scores = _clip_scores(run, in_time_order(views, order, len(clip_videos)))
                if not np.isfinite(scores).all():
                    raise ModelFileError(f"{workdir}: its model answers what is no number: its weights are damaged")
                _append(file, scores)
            for target, video_id in zip(targets, ids, strict=True):
                if video_id.decode() not in numbers:
                    numbers[video_id.decode()] = len(numbers)
                    is_true.append(target > 0)
                clip_videos.append(numbers[video_id.decode()])
            if on_batch is not None:
                on_batch(len(ids))
        videos = tuple(numbers), run.card.classes, np.stack(is_true)
        of_clips = np.array(clip_videos, np.int64)
        mapped = {order: _mapped(file, len(run.card.classes)) for order, file in files.items()}
        return {
            order: Scores(*videos, _video_means(scores, of_clips), scores, of_clips, abouts[order])
            for order, scores in mapped.items()
        }


def in_time_order(views, time_order, first_clip):
    """Clips with their frames in another order.

    Args:
        views: `[clip, view, time, height, width, 3]`.
        time_order: `forward`, `shuffled`, `reversed` or `frozen`.
        first_clip: number of the first of these clips among all; what is shuffled depends on it, and not on batches.

    Returns:
        An array of the same shape.
    """
    num_frames = views.shape[2]
    if time_order == "shuffled":
        orders = [_permutation(first_clip + clip, num_frames) for clip in range(len(views))]
        return np.stack([view[:, order] for view, order in zip(views, orders, strict=True)])
    if time_order == "reversed":
        return views[:, :, ::-1]
    if time_order == "frozen":
        return views[:, :, [num_frames // 2] * num_frames]
    return views


def _permutation(clip, num_frames):
    rng = np.random.default_rng([SHUFFLING_SEED, clip])
    order = np.arange(num_frames)
    while (order == np.arange(num_frames)).all():
        order = rng.permutation(num_frames)
    return order


def _clip_scores(run, views):
    """float32 `[clip, class]`: the views' probabilities averaged."""
    logits = run.model.predict_on_batch(run.inputs(views.reshape(-1, *views.shape[2:])))
    return probabilities(run.card, logits).reshape(*views.shape[:2], -1).mean(axis=1)


@contextlib.contextmanager
def _writing_to(folder):
    try:
        yield
    except OSError as error:
        raise ModelFileError(f"{folder}: the scores cannot be written: {error.strerror}") from None


def _append(file, scores):
    # Written, not mapped: a full disk is then an error like any other, and not the end of the process.
    file.write(np.ascontiguousarray(scores, np.float32))


def _mapped(file, num_classes):
    file.flush()
    return np.memmap(file, np.float32, "r").reshape(-1, num_classes)


def row_chunks(array):
    """Yields slices of the rows of a mapped array that fit into memory."""
    rows = max(1, _CHUNK_VALUES // array.shape[1])
    for start in range(0, len(array), rows):
        yield slice(start, start + rows)


def _video_means(clip_scores, clip_videos):
    counts = np.bincount(clip_videos)
    sums = np.zeros((len(counts), clip_scores.shape[1]))
    for rows in row_chunks(clip_scores):
        np.add.at(sums, clip_videos[rows], clip_scores[rows])
    return np.divide(sums, counts[:, None], out=sums)


def average_scores(members, *, folder=None):
    """Averages what several models answer for the same clips (the CNN average of Table 1).

    Args:
        members: dict from what a model is called to its `Scores`; the models and their clips may be of any kind.
        folder: where the clips' averages are put, in a file without a name; None for the system's temporary folder.

    Returns:
        `Scores`; those of the member itself where there is only one.

    Raises:
        ShardError: the scores are of other clips or classes.
        ModelFileError: the averages cannot be written.
    """
    check_same_clips(members)
    scores = list(members.values())
    if len(scores) == 1:
        return scores[0]
    num_classes = len(scores[0].classes)
    with _writing_to(folder or tempfile.gettempdir()), tempfile.TemporaryFile(dir=scratch_dir(folder)) as file:
        for rows in row_chunks(scores[0].clip_scores):
            mean = np.mean([member.clip_scores[rows] for member in scores], axis=0, dtype=np.float64)
            _append(file, mean)
        clip_scores = _mapped(file, num_classes)
    return Scores(
        scores[0].video_ids,
        scores[0].classes,
        scores[0].is_true,
        sum(member.video_scores for member in scores) / len(scores),
        clip_scores,
        scores[0].clip_videos,
        scores[0].about | {"models": [name for member in scores for name in member.about["models"]]},
    )


def check_same_clips(members):
    """Refuses scores that cannot be compared or averaged.

    Args:
        members: dict from what a model is called to its `Scores`.

    Raises:
        ShardError: the scores are of other clips, videos or classes; the message names both.
    """
    (name, scores), *others = members.items()
    for other_name, other in others:
        differing = [
            what
            for what, is_same in (
                ("classes", scores.classes == other.classes),
                ("videos", scores.video_ids == other.video_ids and np.array_equal(scores.is_true, other.is_true)),
                ("clips", np.array_equal(scores.clip_videos, other.clip_videos)),
            )
            if not is_same
        ]
        if differing:
            raise ShardError(f"{name} and {other_name}: expected scores of the same shards, found other {differing[0]}")


def save(scores: Scores, path):
    """Writes scores to one `.npz` file, under a temporary name first, and renames it when it is whole.

    Args:
        scores: what to write.
        path: the file; one that is there is replaced.

    Raises:
        ModelFileError: it cannot be written.
    """
    path = to_path(path)
    try:
        with staged_file(path, f"unfinished-{os.getpid()}-{path.name}") as local, open(local, "wb") as file:
            np.savez(
                file,
                about=np.array(json.dumps(scores.about)),
                video_ids=np.array(scores.video_ids),
                classes=np.array(scores.classes),
                is_true=scores.is_true,
                video_scores=scores.video_scores,
                clip_scores=scores.clip_scores,
                clip_videos=scores.clip_videos,
            )
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be written: {error.strerror}") from None


def read(path):
    """Reads what `save` wrote, after checking every byte; the clip scores stay on the disk.

    Args:
        path: the file.

    Returns:
        `Scores`.

    Raises:
        ModelFileError: there is no such file, or it is damaged or not one of this package's.
    """
    path = to_path(path)
    try:
        with working_copy(path) as local:
            return _read(local, path)
    except OSError as error:
        raise ModelFileError(f"{path}: not a whole file of scores: {error.strerror}") from None


def _read(local, path):
    """What `read` gives, from a file on the disk that is, or is a copy of, `path`."""
    try:
        with zipfile.ZipFile(local) as archive:
            damaged = archive.testzip()
            if damaged:
                raise ValueError(f"{damaged} does not match its checksum")
            clip_scores = _map_member(local, archive.getinfo("clip_scores.npy"))
        with np.load(local, allow_pickle=False) as file:
            arrays = {name: file[name] for name in _SMALL_ARRAYS}
        scores = Scores(
            video_ids=tuple(arrays["video_ids"].tolist()),
            classes=tuple(arrays["classes"].tolist()),
            is_true=arrays["is_true"],
            video_scores=arrays["video_scores"],
            clip_scores=clip_scores,
            clip_videos=arrays["clip_videos"],
            about=json.loads(str(arrays["about"])),
        )
        _check_shapes(scores)
        return scores
    except Exception as error:  # damage shows itself as anything: BadZipFile, KeyError, EOFError, errors of zlib
        raise ModelFileError(f"{path}: not a whole file of scores: {first_line(error)}") from None


def _map_member(path, member):
    """An array inside an `.npz` file, mapped: NumPy's own reader would take all of it into memory."""
    if member.compress_type != zipfile.ZIP_STORED:
        raise ValueError("its clip scores are compressed")
    with open(path, "rb") as file:
        file.seek(member.header_offset)
        name_bytes, extra_bytes = struct.unpack("<26xHH", file.read(30))
        file.seek(name_bytes + extra_bytes, os.SEEK_CUR)
        version = np.lib.format.read_magic(file)
        read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        shape, is_fortran, dtype = read_header[version](file)
        return np.memmap(file, dtype, "r", file.tell(), shape, "F" if is_fortran else "C")


def _check_shapes(scores):
    videos, clips, classes = len(scores.video_ids), len(scores.clip_videos), len(scores.classes)
    expected = {
        "is_true": ((videos, classes), bool),
        "video_scores": ((videos, classes), np.float64),
        "clip_scores": ((clips, classes), np.float32),
        "clip_videos": ((clips,), np.int64),
    }
    for name, (shape, dtype) in expected.items():
        came = getattr(scores, name)
        if came.shape != shape or came.dtype != dtype:
            raise ValueError(f"expected {name} of {dtype.__name__}{list(shape)}, found {came.dtype}{list(came.shape)}")
    if not np.array_equal(np.unique(scores.clip_videos), np.arange(videos)) or not isinstance(scores.about, dict):
        raise ValueError("expected clips of each of its videos, and what they are about")
