"""Print what shards hold, draw sample clips, and find what two splits have in common.

deepvideo-inspect-shards --shards_dir=SHARDS

For each split this prints class and length statistics and draws SHARDS/<split>-clips.png. If there are several splits,
it looks for videos, UCF-101 groups and near-duplicate clips that two of them have in common.
"""

from typing import Any

from absl import flags

from deepvideo_tf import cli
from deepvideo_tf.storage.paths import to_path

_SHARDS_DIR = flags.DEFINE_string("shards_dir", None, "Required. Folder of the shards.", required=True)
_CLIPS = flags.DEFINE_integer("clips", 12, "Number of sample clips drawn per split.", lower_bound=1)
LISTED_FINDINGS = 20


def main() -> None:
    from deepvideo_tf.data.shards.inspection import audit_splits, splits_in, statistics_of, write_contact_sheet

    splits = splits_in(_SHARDS_DIR.value)
    cli.import_tensorflow()
    for split in splits:
        _print_statistics(split, statistics_of(_SHARDS_DIR.value, split))
        path = to_path(_SHARDS_DIR.value) / f"{split}-clips.png"
        write_contact_sheet(_SHARDS_DIR.value, split, path, clips=_CLIPS.value)
        print(f"  Sample clips: {path}")
    if len(splits) > 1:
        _print_findings(audit_splits(_SHARDS_DIR.value), splits)


def _print_statistics(split: str, found: dict[str, Any]) -> None:
    print(f"{split}: {found['videos']} videos, {found['clips']} clips, {found['bytes'] / 1e6:,.1f} MB")
    if found["skipped"]:
        print(f"  {found['skipped']} videos were skipped; {split}-manifest.json lists them")
    for name, unit, key in (("clips per video", "", "clips_per_video"), ("length", " s", "seconds")):
        least, median, most = found[key]
        print(f"  {name}: {least:.4g} to {most:.4g}{unit}, median {median:.4g}{unit}")
    for name, of_class in found["classes"].items():
        print(f"  {of_class['videos']:>6} videos {of_class['clips']:>8} clips of {name}")


def _print_findings(findings: list[dict[str, Any]], splits: list[str]) -> None:
    if not findings:
        print(f"Nothing in common between {', '.join(splits)}: no video, no group, no near-duplicate clips")
        return
    print(f"In common between splits: {len(findings)} pairs of videos")
    for finding in findings[:LISTED_FINDINGS]:
        one, other = (f"{split} {video}" for split, video in zip(finding["splits"], finding["videos"], strict=True))
        clips = f" ({finding['clips']} pairs of clips)" if finding["clips"] else ""
        print(f"  {finding['kind']}{clips}: {one} and {other}")
    if len(findings) > LISTED_FINDINGS:
        print(f"  and {len(findings) - LISTED_FINDINGS} more")


def run() -> None:
    cli.run(main, in_buckets=("shards_dir",))


if __name__ == "__main__":
    run()
