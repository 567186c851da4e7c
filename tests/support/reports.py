"""Reports with made-up numbers."""

from PIL import Image

from deepvideo_tf.reporting import paper
from deepvideo_tf.reporting.findings import make_findings
from deepvideo_tf.reporting.tables import make_tables

SPEED = {
    fusion: {
        "full_frame": {"training": 10.0, "inference": 40.0},
        "multires": {"training": 15.0, "inference": 60.0},
        "speed_up": {what: {"median": 1.5, "least": 1.4, "greatest": 1.6} for what in ("training", "inference")},
    }
    for fusion in paper.SPEED_UP
}


def evaluation(video_hit, *, clip_hit=None, half_width=0.05, groups=(), **more):
    """Return what `evaluate` returns, as far as the tables read it."""
    clip_hit = video_hit - 0.02 if clip_hit is None else clip_hit
    values = {"clip_hit_at_1": clip_hit, "video_hit_at_1": video_hit, "map": video_hit + 0.01}
    return {
        **values,
        "intervals": {name: [value - half_width, value + half_width] for name, value in values.items()},
        "chance": {"clip_hit_at_1": 0.2, "video_hit_at_1": 0.2, "map": 0.25},
        "classes": {name: {} for name in "abc"},
        "map_by_group": dict.fromkeys(groups, video_hit),
        "map_by_group_intervals": {name: [video_hit - half_width, video_hit + half_width] for name in groups},
        "group_sizes": dict.fromkeys(groups, 2),
        **more,
    }


def against(difference=0.1, interval=(0.05, 0.15)):
    return {
        "video_hit_at_1_difference": difference,
        "interval": list(interval),
        "gains": [{"class": "b", "ap": 0.8, "ap_difference": 0.3, "interval": [0.2, 0.4]}],
        "losses": [
            {"class": "c", "ap": 0.4, "ap_difference": -0.2, "interval": [-0.3, -0.1]},
            {"class": "a", "ap": 0.5, "ap_difference": -0.1, "interval": [-0.2, 0.1]},
        ],
    }


def fold(shift=0.0, *, transfer=(), groups=(), **changes):
    """A fold that came out as the paper's Table 1, at its own video Hit@1."""
    runs = {
        run: evaluation(hits[1] + shift, groups=groups, **({"against": against()} if run == "slow_fusion" else {}))
        for run, hits in paper.TABLE_1.items()
    }
    runs |= {f"transfer_{mode}": evaluation(paper.TABLE_3[mode] + shift, groups=groups) for mode in transfer}
    return runs | changes


def made_report(folder, folds):
    Image.new("RGB", (4, 4), "red").save(folder / "filters.png")
    return {
        "title": "Videos & <b>more</b>",
        "about": "Some videos.",
        "with_frames": False,
        "data": {"text": "3 classes.", "test_videos": 12},
        "made": {"size": "Small.", "text": "By us."},
        "findings": make_findings(folds),
        "tables": make_tables(folds, SPEED, {}),
        "chart": {"file": "filters.png", "caption": "Table 1"},
        "pictures": [
            {"name": "filters", "file": "filters.png", "title": "Filters", "caption": 'a "red" <one>', "of": "multires"}
        ],
        "commands": ["deepvideo-train --workdir='a <b>'"],
    }
