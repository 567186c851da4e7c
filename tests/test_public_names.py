"""The names of `dv.*`, their stub for type checkers, and the files that ship with them."""

import ast

import pytest

import deepvideo_tf as dv
from tests.support.repository import REPOSITORY

STUB = REPOSITORY / "deepvideo_tf/__init__.pyi"


def test_the_stub_has_the_public_names_and_no_others():
    names = set()
    for node in ast.parse(STUB.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom):
            assert [alias.asname for alias in node.names] == [alias.name for alias in node.names], ast.unparse(node)
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.AnnAssign):
            names.add(ast.unparse(node.target))
    assert names - {"__all__"} == set(dv.__all__) == set(dir(dv))


@pytest.mark.parametrize("name", dv.__all__)
def test_each_name_is_found_where_the_stub_says(name):
    assert getattr(dv, name) is not None


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = dv.nothing


def test_the_stub_and_the_mark_of_a_typed_package_ship():
    setup = ast.parse((REPOSITORY / "setup.py").read_text(encoding="utf-8"))
    keywords = [keyword for node in ast.walk(setup) if isinstance(node, ast.Call) for keyword in node.keywords]
    (data,) = [ast.literal_eval(keyword.value) for keyword in keywords if keyword.arg == "package_data"]
    assert {"__init__.pyi", "py.typed"} <= set(data["deepvideo_tf"])
    assert (STUB.parent / "py.typed").exists()
