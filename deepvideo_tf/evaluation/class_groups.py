"""Groups of classes to average results over: the paper's five of UCF-101 (section 4.2, Table 4), or a user's own."""

import json
from collections.abc import Sequence
from pathlib import Path

from deepvideo_tf.errors import ConfigError

UCF101_GROUPS = {
    "Human-Object Interaction": (
        "ApplyEyeMakeup", "ApplyLipstick", "BlowDryHair", "BrushingTeeth", "CuttingInKitchen", "Hammering", "HulaHoop",
        "JugglingBalls", "JumpRope", "Knitting", "Mixing", "MoppingFloor", "Nunchucks", "PizzaTossing", "ShavingBeard",
        "SkateBoarding", "SoccerJuggling", "Typing", "WritingOnBoard", "YoYo",
    ),
    "Body-Motion Only": (
        "BabyCrawling", "BlowingCandles", "BodyWeightSquats", "HandstandPushups", "HandstandWalking", "JumpingJack",
        "Lunges", "PullUps", "PushUps", "RockClimbingIndoor", "RopeClimbing", "Swing", "TaiChi", "TrampolineJumping",
        "WalkingWithDog", "WallPushups",
    ),
    "Human-Human Interaction": ("BandMarching", "Haircut", "HeadMassage", "MilitaryParade", "SalsaSpin"),
    "Playing Musical Instruments": (
        "Drumming", "PlayingCello", "PlayingDaf", "PlayingDhol", "PlayingFlute", "PlayingGuitar", "PlayingPiano",
        "PlayingSitar", "PlayingTabla", "PlayingViolin",
    ),
    "Sports": (
        "Archery", "BalanceBeam", "BaseballPitch", "Basketball", "BasketballDunk", "BenchPress", "Biking", "Billiards",
        "Bowling", "BoxingPunchingBag", "BoxingSpeedBag", "BreastStroke", "CleanAndJerk", "CliffDiving",
        "CricketBowling", "CricketShot", "Diving", "Fencing", "FieldHockeyPenalty", "FloorGymnastics", "FrisbeeCatch",
        "FrontCrawl", "GolfSwing", "HammerThrow", "HighJump", "HorseRace", "HorseRiding", "IceDancing", "JavelinThrow",
        "Kayaking", "LongJump", "ParallelBars", "PoleVault", "PommelHorse", "Punch", "Rafting", "Rowing", "Shotput",
        "Skiing", "Skijet", "SkyDiving", "SoccerPenalty", "StillRings", "SumoWrestling", "Surfing", "TableTennisShot",
        "TennisSwing", "ThrowDiscus", "UnevenBars", "VolleyballSpiking",
    ),
}  # fmt: skip


def ucf101_groups(classes: Sequence[str]) -> dict[str, list[str]] | None:
    """Return the paper's groups of UCF-101, restricted to some classes.

    Args:
        classes: class names. Case is ignored: the class HandstandPushups is HandStandPushups in some copies.

    Returns:
        Lists of `classes` by the name of their group; None if a class is not one of UCF-101.
    """
    group_of = {name.casefold(): group for group, names in UCF101_GROUPS.items() for name in names}
    if not all(name.casefold() in group_of for name in classes):
        return None
    found = {group: [name for name in classes if group_of[name.casefold()] == group] for group in UCF101_GROUPS}
    return {group: names for group, names in found.items() if names}


def read_groups(path: str | Path, classes: Sequence[str]) -> dict[str, list[str]]:
    """Read groups of classes from a JSON file, `{"group": ["class", ...], ...}`.

    Args:
        path: the file.
        classes: the class names that may appear.

    Returns:
        Lists of class names by the name of their group.

    Raises:
        ConfigError: the file cannot be read, has another form, or names other classes.
    """
    try:
        with open(path, encoding="utf-8") as file:
            groups = json.load(file)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: not a JSON file: {error}") from None
    check_groups(groups, classes, path)
    return groups


def check_groups(groups: object, classes: Sequence[str], source: str | Path = "groups") -> None:
    """Raise ConfigError unless `groups` is `{group: [class, ...]}` with known classes.

    Args:
        groups: the groups.
        classes: class names.
        source: where the groups come from, for the message.

    Raises:
        ConfigError: they cannot be used with these classes.
    """
    if not isinstance(groups, dict) or not groups:
        raise ConfigError(f'{source}: expected {{"group": ["class", ...], ...}}. Received: {groups!r:.80}')
    known = set(classes)
    for group, names in groups.items():
        is_list = isinstance(names, (list, tuple)) and all(isinstance(name, str) for name in names)
        if not isinstance(group, str) or not is_list or not names:
            raise ConfigError(
                f"{source}: expected a list of class names for the group {group!r}. Received: {names!r:.80}"
            )
        if len(set(names)) < len(names):
            raise ConfigError(f"{source}: the group {group!r} names a class twice")
        unknown = [name for name in names if name not in known]
        if unknown:
            raise ConfigError(
                f"{source}: the group {group!r} names {unknown[0]!r}, which is not one of the {len(known)} classes"
            )
