"""Evaluate a trained run on shards by the paper's protocol: clips x views averaged, Hit@k of clips and videos.

  deepvideo-evaluate --workdir=RUN --shards_dir=SHARDS
  deepvideo-evaluate --workdir=RUN --shards_dir=SHARDS --motion --against=OTHER_RUN
  deepvideo-evaluate --workdir=RUN --shards_dir=SHARDS --pictures=all
  deepvideo-evaluate --workdir=AVERAGE --shards_dir=SHARDS --ensemble=RUN1,RUN2,RUN3

Writes evaluation-<split>.json into the workdir, and the scores of each clip and video, scores-<split>.npz, into the
folder of each run, where the next evaluation finds them. Pictures go to pictures-<split>/ in the workdir, with
pictures.json, which says what each one shows.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from absl import flags

from deepvideo_tf import cli
from deepvideo_tf.storage.paths import on_disk, to_path
from deepvideo_tf.storage.writes import write_text_atomically
from deepvideo_tf.visualization.pictures import PICTURES

_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Required. Folder of the run; with --ensemble, any folder for the result.", required=True
)
_SHARDS_DIR = flags.DEFINE_string("shards_dir", None, "Required. Folder of the shards.", required=True)
_SPLIT = flags.DEFINE_enum("split", "test", ["train", "validation", "test"], "Split to evaluate.")
_NUM_VIEWS = flags.DEFINE_integer(
    "num_views", 4, "Views of each clip: crops and mirror images.", lower_bound=1, upper_bound=5
)
_K = flags.DEFINE_list(
    "k", None, "Values of k in video Hit@k, separated by commas; by default 1,5 if there are enough classes."
)
_ENSEMBLE = flags.DEFINE_list("ensemble", None, "RUN1,RUN2,...: runs whose probabilities are averaged.")
_AGAINST = flags.DEFINE_string("against", None, "Folder of a run to compare with, class by class.")
_GROUPS = flags.DEFINE_string(
    "groups",
    None,
    'JSON file {"group": ["class", ...], ...} of groups to average over; for UCF-101 the paper\'s by default.',
)
_MOTION = flags.DEFINE_bool("motion", False, "Whether to evaluate shuffled, reversed and frozen frames too.")
_PICTURES = flags.DEFINE_list(
    "pictures",
    None,
    f"Pictures to draw, separated by commas: {', '.join(PICTURES)}; or all, for every picture that the run can have. "
    "Needs the extra plots.",
)
_MAX_BAD_FRACTION = flags.DEFINE_float(
    "max_bad_fraction", 0.01, "Fraction of the stored clips that may be damaged; above it evaluation fails."
)

MOST_CLASSES, BEST_AND_WORST = 40, 10  # if there are more classes, only the best and the worst are printed
PRINTED_CONFUSIONS = 5


@flags.validator("k", message="expected whole numbers with commas between them, as in --k=1,5")
def _are_numbers(values: list[str] | None) -> bool:
    return values is None or (bool(values) and all(re.fullmatch("[0-9]{1,9}", value) for value in values))


@flags.validator("ensemble", message="expected folders of runs with commas between them")
def _are_folders(values: list[str] | None) -> bool:
    return values is None or (bool(values) and all(values))


@flags.validator("pictures", message=f"expected some of {', '.join(('all', *PICTURES))}, with commas between them")
def _are_pictures(values: list[str] | None) -> bool:
    return values is None or (bool(values) and set(values) <= {"all", *PICTURES})


def main() -> None:
    from deepvideo_tf.data.shards.manifest import read_manifest
    from deepvideo_tf.evaluation.class_groups import read_groups

    manifest = read_manifest(_SHARDS_DIR.value, _SPLIT.value)  # before TensorFlow's slow import
    groups = None if _GROUPS.value is None else read_groups(_GROUPS.value, manifest.classes)
    cli.import_tensorflow()
    from deepvideo_tf.evaluation.protocol import evaluate

    ensemble = _ENSEMBLE.value or []
    pictures = _chosen_pictures(ensemble or [_WORKDIR.value])
    if ensemble:
        to_path(_WORKDIR.value).mkdir(parents=True, exist_ok=True)
    passes = (len(ensemble) or 1) + (_AGAINST.value is not None)
    with cli.progress(passes * manifest.records, "clip", _SPLIT.value) as on_batch:
        result = evaluate(
            _WORKDIR.value,
            _SHARDS_DIR.value,
            split=_SPLIT.value,
            num_views=_NUM_VIEWS.value,
            ks=None if _K.value is None else [int(k) for k in _K.value],
            max_bad_fraction=_MAX_BAD_FRACTION.value,
            ensemble=ensemble,
            against=_AGAINST.value,
            groups=groups,
            motion=_MOTION.value,
            on_batch=on_batch,
        )
    print_result(result)
    path = to_path(_WORKDIR.value) / f"evaluation-{_SPLIT.value}.json"
    write_text_atomically(path, _to_text(result))
    print(f"Evaluation: {path}")
    if pictures:
        _draw(pictures, result, groups)
    cli.print_next("deepvideo-predict", f"--model_path={result['runs'][0]}", "VIDEO")


def _chosen_pictures(runs: Sequence[str]) -> tuple[str, ...]:
    """Check the pictures before the scores, which may take hours."""
    if _PICTURES.value is None:
        return ()
    from deepvideo_tf.visualization.pictures.draw import choose_pictures

    return choose_pictures(_PICTURES.value, runs)


def _draw(names: Sequence[str], result: Mapping[str, Any], groups: Mapping[str, list[str]] | None) -> None:
    from deepvideo_tf.visualization.pictures.draw import draw_pictures

    folder = on_disk("workdir", _WORKDIR.value) / f"pictures-{_SPLIT.value}"
    draw_pictures(names, result, _SHARDS_DIR.value, folder, groups=groups, max_bad_fraction=_MAX_BAD_FRACTION.value)
    print(f"Pictures: {folder} ({', '.join(names)})")


def _to_text(result: Mapping[str, Any]) -> str:
    """Return JSON with one value per line, and lists of numbers in one line."""
    text = json.dumps(result, indent=1, ensure_ascii=False)
    return re.sub(r"\[\n[\s\d.,eE+-]+\]", lambda numbers: " ".join(numbers[0].split()), text) + "\n"


def print_result(result: Mapping[str, Any]) -> None:
    """Print the tables of an evaluation, as `dv.evaluate` returns it."""
    print(f"{result['split']}: {result['videos']} videos, {result['clips']} clips, {result['views']} views a clip")
    if result["skipped_clips"]:
        print(f"  skipped {result['skipped_clips']} damaged clips")
    if len(result["runs"]) > 1:
        print(f"  the average of {', '.join(result['runs'])}")
    print(f"  {'':<14} measured  95% interval    chance")
    for name, chance in result["chance"].items():
        interval = _interval(result["intervals"][name])
        print(f"  {_title(name):<14} {result[name]:8.3f}  {interval}  {_or_dash(chance)}")
    for group, value in result["map_by_group"].items():
        print(f"  {_or_dash(value):>5} mAP of {group}")
    _print_classes(result["classes"])
    for pair in result["most_confused"][:PRINTED_CONFUSIONS]:
        of_class = result["classes"][pair["true"]]["videos"]
        print(f"  {pair['videos']} of {of_class} videos of {pair['true']} are taken for {pair['predicted']}")
    if "against" in result:
        _print_against(result["against"])
    if "motion" in result:
        _print_motion(result["motion"])


def _title(name: str) -> str:
    return name.replace("_", " ").replace("hit at ", "Hit@").replace("map", "mAP")


def _or_dash(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _interval(ends: Sequence[float]) -> str:
    return f"{ends[0]:.3f} to {ends[1]:.3f}"


def _print_classes(classes: Mapping[str, Any]) -> None:
    present = [(name, of_class) for name, of_class in classes.items() if of_class["videos"]]
    ranked = sorted(present, key=lambda item: -item[1]["ap"])
    is_long = len(ranked) > MOST_CLASSES
    shown = ranked[:BEST_AND_WORST] + ranked[-BEST_AND_WORST:] if is_long else ranked
    print("     AP  Hit@1  videos")
    for number, (name, of_class) in enumerate(shown):
        if is_long and number == BEST_AND_WORST:
            print(f"  ... {len(ranked) - len(shown)} classes between these")
        print(f"  {of_class['ap']:.3f}  {of_class['video_hit_at_1']:.3f}  {of_class['videos']:>6}  {name}")


def _print_against(against: Mapping[str, Any]) -> None:
    print(f"against {against['run']}, which has video Hit@1 {against['video_hit_at_1']:.3f}, mAP {against['map']:.3f}")
    interval = _interval(against["interval"])
    print(f"  video Hit@1 {against['video_hit_at_1_difference']:+.3f} (95% interval {interval})")
    print(f"  mAP         {against['map_difference']:+.3f}")
    for pair in against["gains"] + against["losses"]:
        print(f"  AP {pair['ap_difference']:+.3f} {pair['class']}")


def _print_motion(motion: Mapping[str, Any]) -> None:
    if "note" in motion:
        print(f"motion: {motion['note']}")
        return
    print("motion: the change of Hit@1 where the frames of each clip are")
    print(f"  {'':<8}  clips   95% interval      videos  95% interval")
    for order, of_order in motion["orders"].items():
        clips, videos = (
            f"{of_order[f'{name}_change']:+.3f}  {ends[0]:+.3f} to {ends[1]:+.3f}"
            for name in ("clip_hit_at_1", "video_hit_at_1")
            for ends in [of_order[f"{name}_change_interval"]]
        )
        print(f"  {order:<8}  {clips}  {videos}")
    if motion["matters"]:
        print(f"  The model uses the order of the frames: it is worse where they are {' or '.join(motion['matters'])}")
    else:
        print("  Nothing here shows that the model uses motion: no interval lies below 0")


def run() -> None:
    cli.run(main, in_buckets=("shards_dir", "workdir", "ensemble", "against"))


if __name__ == "__main__":
    run()
