"""What users import: the names, how fast, and which version."""

import ast
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import deepvideo_tf as dv
from tests.support.repository import REPOSITORY
from tests.support.source_code import PACKAGE, PROGRAMS, dotted, shown


def loaded_after(statement):
    code = f"import sys; {statement}; print(*sys.modules)"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd="/").stdout
    return set(output.split())


def test_importing_the_package_imports_neither_tensorflow_nor_keras():
    loaded = loaded_after(
        "import deepvideo_tf as dv; dv.errors.ConfigError; dv.ClipSpec; dv.TrainConfig; dv.read_folder"
    )
    assert not loaded & {"tensorflow", "keras", "av"}


@pytest.mark.parametrize("path", PROGRAMS, ids=shown)
def test_programs_import_tensorflow_late(path):
    """So that --help and errors in flags appear within a second."""
    module = "deepvideo_tf." + ".".join(path.relative_to(REPOSITORY).with_suffix("").parts).removesuffix(".__init__")
    assert not loaded_after(f"import {module}") & {"tensorflow", "keras", "av", "matplotlib"}


def test_public_names_exist():
    assert all(getattr(dv, name) is not None for name in dv.__all__)
    assert set(dv.__all__) == set(dir(dv))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = dv.nothing


def test_the_stub_has_the_public_names():
    stub = PACKAGE / "__init__.pyi"
    found = set()
    for node in ast.parse(stub.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            found |= {alias.asname for alias in node.names if alias.asname}  # without `as` it is not re-exported
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.AnnAssign):
            found.add(dotted(node.target))
    assert found - {"__all__"} == set(dv.__all__), "deepvideo_tf/__init__.pyi and __init__.py: expected the same names"


def test_the_version_is_the_same_everywhere():
    assert version("deepvideo-tf") == dv.__version__
    assert Path(dv.__file__).parent.name == "deepvideo_tf"


def test_the_stub_and_the_mark_of_a_typed_package_ship():
    setup = ast.parse((REPOSITORY / "setup.py").read_text(encoding="utf-8"))
    keywords = [keyword for node in ast.walk(setup) if isinstance(node, ast.Call) for keyword in node.keywords]
    (data,) = [ast.literal_eval(keyword.value) for keyword in keywords if keyword.arg == "package_data"]
    assert {"__init__.pyi", "py.typed"} <= set(data["deepvideo_tf"])
    assert (PACKAGE / "py.typed").exists()
