"""The paper's test protocol: clips and views averaged into clip and video scores, judged by Hit@k (section 4.1)."""

import keras
import numpy as np

from deepvideo_tf.data.dataset import DEFAULT_MAX_BAD_FRACTION, make_evaluation_dataset, naming_damage
from deepvideo_tf.data.shards import check_classes, read_manifest
from deepvideo_tf.errors import ConfigError, ModelFileError
from deepvideo_tf.training.checkpoints import load_run
from deepvideo_tf.training.metrics import hits_at_k


def evaluate(
    workdir,
    shards_dir,
    *,
    split="test",
    num_views=4,
    ks=None,
    batch_size=8,
    max_bad_fraction=DEFAULT_MAX_BAD_FRACTION,
    on_batch=None,
):
    """Evaluates a run on shards.

    Each clip passes the net once a view; the views' probabilities are averaged into the clip's, the clips' into the
    video's (section 4.1). Differs from the paper, which draws 20 clips at random: these are the stored, evenly spaced
    ones.

    Args:
        workdir: the run's folder.
        shards_dir: the folder of shards.
        split: `train`, `validation` or `test`.
        num_views: crops and mirrorings of each clip, 1 to 5; 4 in the paper.
        ks: the k of Hit@k; None for 1 and 5, the paper's, without those that are not below the number of classes.
        batch_size: stored clips in a batch.
        max_bad_fraction: the part of the stored clips that may be damaged, and are skipped with a warning.
        on_batch: called with the number of clips after each batch, for a progress bar.

    Returns:
        Dict, ready for JSON: `split`, `videos`, `clips`, `skipped_clips` (damaged ones), `views`, `clip_hit_at_1`,
        `video_hit_at_<k>` for each k, `classes` (for each class name its `videos` and `video_hit_at_1`), and
        `per_video`, a list of `video_id`, `labels`, `predicted` and the `probability` of the latter.

    Raises:
        ModelFileError: the run cannot be loaded, or was trained on clips of another size or rate.
        ShardError: the shards are missing, unfinished or damaged, or have other classes or another order of them.
        ConfigError: an argument is outside its range.
    """
    run = load_run(workdir)
    manifest = read_manifest(shards_dir, split)
    check_classes(workdir, run.card.classes, shards_dir, manifest.classes)
    for name in ("frame_size_px", "frame_rate_fps"):
        ours, theirs = getattr(run.card.shards, name), getattr(manifest.spec, name)
        if ours != theirs:
            raise ModelFileError(
                f"{workdir}: was trained on clips of {name}={ours}, those in {shards_dir} have {theirs}"
            )
    num_classes = len(manifest.classes)
    if ks is None:
        ks = [1] + [5] * (num_classes > 5)
    for k in ks:
        if not isinstance(k, int) or not 1 <= k <= num_classes:
            raise ConfigError(f"k must be a whole number from 1 to the {num_classes} classes. Received: {k!r}")
    dataset = make_evaluation_dataset(
        shards_dir,
        split,
        run.card.clip,
        batch_size=batch_size,
        num_views=num_views,
        max_bad_fraction=max_bad_fraction,
    )
    with naming_damage(shards_dir, split):
        scores, is_true, video_ids = _clip_scores(run.model, dataset, on_batch)
    video_scores, video_is_true = _video_scores(scores, is_true, video_ids)
    return {
        "split": split,
        "videos": len(video_scores),
        "clips": len(scores),
        "skipped_clips": manifest.records - len(scores),
        "views": num_views,
        "clip_hit_at_1": float(hits_at_k(is_true, scores, 1).mean()),
        **{f"video_hit_at_{k}": float(hits_at_k(video_is_true, video_scores, k).mean()) for k in ks},
        "classes": _by_class(manifest.classes, video_is_true, hits_at_k(video_is_true, video_scores, 1)),
        "per_video": _by_video(manifest.classes, video_is_true, video_scores, dict.fromkeys(video_ids)),
    }


def _clip_scores(model, dataset, on_batch):
    """Probabilities `[clip, class]`, truth bool `[clip, class]` and video ids `[clip]`."""
    scores, is_true, video_ids = [], [], []
    for views, targets, ids in dataset.as_numpy_iterator():
        logits = model.predict_on_batch(views.reshape(-1, *views.shape[2:]))
        probabilities = keras.ops.convert_to_numpy(keras.ops.softmax(logits))
        scores.append(probabilities.reshape(*views.shape[:2], -1).mean(axis=1))
        is_true.append(targets > 0)
        video_ids += [video_id.decode() for video_id in ids]
        if on_batch is not None:
            on_batch(len(ids))
    return np.concatenate(scores), np.concatenate(is_true), video_ids


def _video_scores(scores, is_true, video_ids):
    """The means of the clips of each video, and its truth, in order of appearance."""
    number_of = {video_id: number for number, video_id in enumerate(dict.fromkeys(video_ids))}
    numbers = np.array([number_of[video_id] for video_id in video_ids])
    sums = np.zeros((len(number_of), scores.shape[1]))
    np.add.at(sums, numbers, scores)
    _, first = np.unique(numbers, return_index=True)
    return sums / np.bincount(numbers)[:, None], is_true[first]


def _by_class(classes, video_is_true, hits):
    return {
        name: {
            "videos": int(of_class.sum()),
            "video_hit_at_1": float(hits[of_class].mean()) if of_class.any() else None,
        }
        for name, of_class in zip(classes, video_is_true.T, strict=True)
    }


def _by_video(classes, video_is_true, video_scores, video_ids):
    return [
        {
            "video_id": video_id,
            "labels": [classes[label] for label in np.flatnonzero(is_true)],
            "predicted": classes[scores.argmax()],
            "probability": round(float(scores.max()), 6),
        }
        for video_id, is_true, scores in zip(video_ids, video_is_true, video_scores, strict=True)
    ]
