"""Whether exported models predict what the run does that they come from, and what each of them costs.

Every model is measured in a process of its own (`parity_process`), since threads and memory belong to a process.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from deepvideo_tf.config import ModelCard, check_int, check_number
from deepvideo_tf.data.input.pipeline import make_dataset, naming_damage
from deepvideo_tf.data.shards.manifest import check_card, read_manifest
from deepvideo_tf.errors import ConfigError, ModelFileError, first_line
from deepvideo_tf.formats.predictors import find_model
from deepvideo_tf.runs.checkpoints import find_checkpoint
from deepvideo_tf.runs.state import read_description
from deepvideo_tf.storage.paths import AnyPath, PathLike

MAX_HIT_AT_1_LOSS = 0.01
THREADS = (1, 2)


def check_parity(
    workdir: PathLike,
    models: Sequence[PathLike],
    shards_dir: PathLike,
    *,
    split: str = "test",
    max_clips: int = 1000,
    max_hit_at_1_loss: float = MAX_HIT_AT_1_LOSS,
    on_model: Callable[[], None] | None = None,
) -> dict[str, Any]:
    """Compare exported models with the run that they come from, on clips of shards.

    Args:
        workdir: the run's folder.
        models: list of paths of exported models, in any format.
        shards_dir: the folder of shards.
        split: the split that clips are taken from; their center view is used.
        max_clips: number of clips, evenly spaced, 1 or more.
        max_hit_at_1_loss: how much lower than the run's the Hit@1 of a model that is not float32, or of reduced rank,
            may be, 0 to 1.
        on_model: called after each measured process, of which there is one for each model and number of threads.

    Returns:
        JSON data: `clips`, their number; `split`; `models`, a list of dicts, the run's first: `model` (its path),
        `format`, `precision`, `dense_rank`, `conv_rank`; `max_difference` and `mean_difference` of its probabilities
        from the run's; `top1_agreement`, the fraction of clips that have the same likeliest class; `hit_at_1`, against
        the labels; `size_bytes`; `latency_ms`, by number of threads the `median` and `p95` for one clip;
        `peak_memory_bytes` of its process, libraries included; `broken`, the tolerances that it exceeds, in words.

    Raises:
        ModelFileError: a model cannot be loaded, or is not the run's.
        ShardError: the shards are missing or damaged, or have other classes.
        ConfigError: an argument is outside its range, or the shards cannot give such clips.
    """
    if isinstance(models, (str, Path)):
        raise ConfigError(f"models must be a list of paths. Received: {models!r}")
    check_int("max_clips", max_clips, 1)
    check_number("max_hit_at_1_loss", max_hit_at_1_loss, least=0, below=1.0001)
    checkpoint = find_checkpoint(workdir, best=True)
    card = read_description(checkpoint).card
    check_card(workdir, card, shards_dir, read_manifest(shards_dir, split))
    for model in models:
        find_model(model)
    with naming_damage(shards_dir, split):
        clips, targets = parity_clips(shards_dir, split, card, max_clips)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        try:
            np.save(Path(folder) / "clips.npy", clips)
        except OSError as error:
            raise ConfigError(f"{folder}: the clips cannot be kept there: {first_line(error)}") from None
        for model in (workdir, *models):
            rows.append(_measured(model, checkpoint, Path(folder), on_model))
    expected = rows[0]["probabilities"]
    for model, row in zip((workdir, *models), rows, strict=True):
        row |= compare(row.pop("probabilities"), expected, targets)
        row["broken"] = exceeded(row, rows[0], find_model(model)[0].float32_tolerance, max_hit_at_1_loss)
    return {"split": split, "clips": len(clips), "models": rows}


def parity_clips(shards_dir: PathLike, split: str, card: ModelCard, max_clips: int) -> tuple[np.ndarray, np.ndarray]:
    """Return evenly spaced clips, uint8 `[clip, time, height, width, 3]`, and targets, float32 `[clip, class]`."""
    dataset = make_dataset(shards_dir, split, card.clip, batch_size=1)
    count = int(dataset.cardinality())
    wanted = set(np.linspace(0, count - 1, min(count, max_clips)).round().astype(int))
    pairs = [pair for number, pair in enumerate(dataset.as_numpy_iterator()) if number in wanted]
    clips, targets = (np.concatenate(arrays) for arrays in zip(*pairs, strict=True))
    return clips, targets


def _measured(path: PathLike, checkpoint: AnyPath, folder: Path, on_model: Callable[[], None] | None) -> dict[str, Any]:
    """Measure what a model that was made from a checkpoint predicts and costs."""
    latency_ms = {}
    for threads in THREADS:  # all but the latency is kept from the last process
        command = [
            sys.executable,
            "-m",
            "deepvideo_tf.formats.parity_process",
            str(path),
            checkpoint.name,
            str(folder),
            str(threads),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            said = (done.stderr.strip().splitlines() or [f"its process ended with status {done.returncode}"])[-1]
            raise ModelFileError(said[:300] if str(path) in said else f"{path}: it cannot be measured: {said:.300}")
        answer = json.loads((folder / "answer.json").read_text())
        latency_ms[str(threads)] = answer["latency_ms"]
        if on_model is not None:
            on_model()
    about = answer["about"]
    return {
        "model": str(path),
        **{name: about.get(name) for name in ("format", "precision", "dense_rank", "conv_rank")},
        "size_bytes": _size_bytes(path, checkpoint),
        "latency_ms": latency_ms,
        "peak_memory_bytes": answer["peak_memory_bytes"],
        "probabilities": np.load(folder / "probabilities.npy"),
    }


def _size_bytes(path: PathLike, checkpoint: AnyPath) -> int:
    kind, found = find_model(path)
    if kind.export is None:  # of a run, one checkpoint is the model
        found = checkpoint
    files = [found] if found.is_file() else Path(str(found)).rglob("*")
    return sum(file.stat().st_size for file in files if file.is_file())


def compare(probabilities: np.ndarray, expected: np.ndarray, targets: np.ndarray) -> dict[str, float]:
    """Compare probabilities, `[clip, class]`, with the run's and with the labels."""
    difference = np.abs(probabilities - expected)
    top = probabilities.argmax(axis=1)
    return {
        "max_difference": float(difference.max()),
        "mean_difference": float(difference.mean()),
        "top1_agreement": float((top == expected.argmax(axis=1)).mean()),
        "hit_at_1": float((targets[np.arange(len(top)), top] > 0).mean()),
    }


def exceeded(
    row: dict[str, Any], reference: dict[str, Any], tolerance: float | None, max_hit_at_1_loss: float
) -> list[str]:
    """List the tolerances that a model exceeds.

    Args:
        row: what was measured of the model, one of `check_parity`'s `models`.
        reference: the same of the run.
        tolerance: the largest difference of probabilities that is rounding, for a float32 model of full rank; None to
            leave that out. Models of reduced precision or rank round on purpose, and are evaluated by Hit@1.
        max_hit_at_1_loss: how much lower than the run's Hit@1 may be.

    Returns:
        A sentence for each.
    """
    broken = []
    is_exact = row["precision"] == "float32" and row["dense_rank"] is None and row["conv_rank"] is None
    if is_exact and tolerance is not None:
        if not row["max_difference"] <= tolerance:  # also if it is not a number
            broken.append(f"probabilities differ by {row['max_difference']:.1e}, the tolerance is {tolerance:.0e}")
        if row["top1_agreement"] < 1:
            broken.append(f"the likeliest class differs for {1 - row['top1_agreement']:.2%} of the clips")
    if not row["hit_at_1"] >= reference["hit_at_1"] - max_hit_at_1_loss - 1e-9:
        broken.append(
            f"Hit@1 is {row['hit_at_1']:.4f}, more than {max_hit_at_1_loss:g} below the run's "
            f"{reference['hit_at_1']:.4f}"
        )
    return broken
