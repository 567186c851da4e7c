import json

import pytest

from deepvideo_tf.errors import ConfigError
from deepvideo_tf.evaluation.class_groups import UCF101_GROUPS, check_groups, read_groups, ucf101_groups
from tests.support.repository import real_data


def test_the_groups_are_the_papers():
    """Table 4: 20, 16, 5, 10 and 50 classes."""
    groups = {group: list(names) for group, names in UCF101_GROUPS.items()}
    assert groups == json.loads((real_data("ucf101-lists") / "groups.json").read_text())
    assert [len(names) for names in groups.values()] == [20, 16, 5, 10, 50]


def test_the_groups_hold_every_class_of_the_official_list():
    lines = (real_data("ucf101-lists") / "classInd.txt").read_text().split()
    assert sorted(name for names in UCF101_GROUPS.values() for name in names) == sorted(lines[1::2])


def test_groups_are_found_by_class_names_whatever_their_capitals():
    assert ucf101_groups(("Surfing", "HandStandPushups", "Archery")) == {
        "Body-Motion Only": ["HandStandPushups"],
        "Sports": ["Surfing", "Archery"],
    }
    assert ucf101_groups(("Surfing", "moves_up")) is None


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ([], "expected {.group.: \\[.class., ...\\], ...}. Received: \\[\\]"),
        ({}, "Received: {}"),
        ({"one": "up"}, "expected a list of class names for the group 'one'. Received: 'up'"),
        ({"one": []}, "expected a list of class names for the group 'one'"),
        ({"one": [1]}, "expected a list of class names for the group 'one'"),
        ({"one": ["up", "up"]}, "the group 'one' names a class twice"),
        ({"one": ["up"], "two": ["sideways"]}, "the group 'two' names 'sideways', which is not one of the 2 classes"),
    ],
)
def test_other_groups_are_refused(groups, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        check_groups(groups, ("up", "down"))
    (tmp_path / "groups.json").write_text(json.dumps(groups))
    with pytest.raises(ConfigError, match=f"groups.json: .*{message}"):
        read_groups(tmp_path / "groups.json", ("up", "down"))


def test_files_that_are_no_groups(tmp_path):
    (tmp_path / "groups.json").write_text("{")
    with pytest.raises(ConfigError, match="groups.json: not a JSON file"):
        read_groups(tmp_path / "groups.json", ("up",))
    (tmp_path / "groups.json").write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="groups.json: not a JSON file"):
        read_groups(tmp_path / "groups.json", ("up",))
    with pytest.raises(ConfigError, match="nowhere.json: cannot be read: No such file"):
        read_groups(tmp_path / "nowhere.json", ("up",))
    (tmp_path / "groups.json").write_text('{"all": ["up"]}')
    assert read_groups(tmp_path / "groups.json", ("up",)) == {"all": ["up"]}
