"""Choosing and drawing the pictures of a run."""

import json
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from deepvideo_tf.config import check_choice
from deepvideo_tf.data.input.reader import DEFAULT_MAX_BAD_FRACTION
from deepvideo_tf.errors import ConfigError
from deepvideo_tf.models.registry import model_info
from deepvideo_tf.runs.checkpoints import find_checkpoint
from deepvideo_tf.runs.state import read_description
from deepvideo_tf.storage.paths import PathLike, on_disk
from deepvideo_tf.storage.writes import write_bytes_atomically, write_text_atomically
from deepvideo_tf.visualization.pictures import PICTURES
from deepvideo_tf.visualization.pictures.source import Source
from deepvideo_tf.visualization.plots.figure import to_png

INDEX_NAME = "pictures.json"


def choose_pictures(names: Sequence[str], runs: Sequence[PathLike]) -> tuple[str, ...]:
    """Choose which pictures to draw, before anything is computed.

    Args:
        names: of `PICTURES`; or `all`, for those that the run can have.
        runs: folders of the runs whose probabilities are averaged, or of one run.

    Returns:
        Names in the order of `PICTURES`.

    Raises:
        ConfigError: there is no such picture, or these runs cannot have it.
        ModelFileError: a run cannot be read.
    """
    for run in runs:
        on_disk("with pictures, a run", run)
    info = model_info(read_description(find_checkpoint(runs[0], best=True)).config.model)
    obstacles = {name: import_module(module).obstacle(runs, info) for name, module in PICTURES.items()}
    if tuple(names) == ("all",):
        return tuple(name for name in PICTURES if not obstacles[name])
    for name in names:
        check_choice("pictures", name, ("all", *PICTURES))
        if name == "all":
            raise ConfigError(f"pictures must be all, or names. Received: {','.join(names)}")
        if obstacles[name]:
            raise ConfigError(f"pictures cannot have {name}: {obstacles[name]}")
    return tuple(name for name in PICTURES if name in names)


def draw_pictures(
    names: Sequence[str],
    evaluation: Mapping[str, Any],
    shards_dir: PathLike,
    folder: PathLike,
    *,
    groups: Mapping[str, Sequence[str]] | None = None,
    max_bad_fraction: float = DEFAULT_MAX_BAD_FRACTION,
) -> list[dict[str, Any]]:
    """Draw pictures of what was evaluated, and list them in `pictures.json`.

    Args:
        names: from `choose_pictures`.
        evaluation: from `deepvideo_tf.evaluate`.
        shards_dir: the folder of shards that it was evaluated on.
        folder: where the files go; made if it does not exist. Earlier pictures that are not drawn now are removed.
        groups: as in `evaluate`.
        max_bad_fraction: as in `evaluate`.

    Returns:
        List of dicts of `name`, `file`, `title`, `caption` (what is shown, in a sentence with its numbers) and
        `numbers`.

    Raises:
        ModelFileError: a run or its scores cannot be read.
        ShardError: the shards are damaged.
        OSError: a file cannot be written.
    """
    folder = Path(str(folder))
    folder.mkdir(parents=True, exist_ok=True)
    source = Source(evaluation, shards_dir, groups, max_bad_fraction)
    index = []
    for name in names:
        file = f"{name}.png"
        figure, title, caption, numbers = import_module(PICTURES[name]).draw(source)
        write_bytes_atomically(folder / file, to_png(figure))
        index.append({"name": name, "file": file, "title": title, "caption": caption, "numbers": numbers})
    write_text_atomically(folder / INDEX_NAME, json.dumps(index, indent=1, ensure_ascii=False) + "\n")
    for name in set(PICTURES) - set(names):
        (folder / f"{name}.png").unlink(missing_ok=True)
    return index
