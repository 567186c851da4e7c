"""Who may import whom, from the imports themselves."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.repository import REPOSITORY

PACKAGE = REPOSITORY / "deepvideo_tf"

# What each part of the library may import of the package. Arrows point down only.
MAY_IMPORT = {
    "__init__": {"errors", "plots"},
    "errors": set(),
    "paths": {"errors"},
    "files": {"paths"},
    "config": {"errors"},
    "cli": {"errors", "paths"},
    "layers": {"errors", "config"},
    "models": {"errors", "config", "layers", "models"},
    "engines": {"errors", "paths"},
    "data": {"errors", "config", "paths", "files", "engines", "data"},
    "baseline": {"errors", "config", "paths", "files", "data", "baseline"},
    "plots": {"errors"},
    "saliency": {"config"},
    "training": {"errors", "config", "paths", "files", "models", "data", "baseline", "training", "exporting", "plots"},
    "exporting": {"errors", "config", "paths", "files", "data", "training", "models", "predictors", "exporting"},
    "bootstrap": {"training"},
    "scores": {"errors", "config", "paths", "data", "training"},
    "evaluation": {"errors", "paths", "data", "training", "scores", "bootstrap"},
    "pictures": {"errors", "config", "paths", "files", "models", "data", "training", "scores", "saliency", "plots"},
    "predictors": {"errors", "config", "paths", "training"},
    "parity": {"errors", "config", "data", "predictors", "training"},
    "parity_process": {"errors", "config", "predictors"},
    "serving": {"errors", "config", "files", "predictors", "exporting", "serving"},
    "prediction": {"errors", "config", "data", "predictors"},
    "batch_prediction": {"errors", "config", "paths", "files", "engines", "data", "predictors", "prediction"},
    "reporting": {"errors", "config", "files", "models", "data", "training", "reporting"},
    "drawing": {"errors", "config", "data", "predictors", "prediction"},
}
PROGRAM_FOLDERS = ("pipelines", "export")


def imports_of(path):
    """Full names of the modules that a file imports, at its top or within functions."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def part_of(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


LIBRARY = sorted(PACKAGE.rglob("*.py"))
PROGRAMS = sorted(path for folder in PROGRAM_FOLDERS for path in (REPOSITORY / folder).rglob("*.py"))


@pytest.mark.parametrize("path", LIBRARY, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_library_imports_point_down(path):
    allowed = MAY_IMPORT[part_of(path)]
    for name in imports_of(path):
        if name.startswith("deepvideo_tf."):
            assert name.split(".")[1] in allowed, f"{path} imports {name}"
        assert name.split(".")[0] not in PROGRAM_FOLDERS, f"{path} imports a program"


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_programs_import_only_the_library(path):
    for name in imports_of(path):
        assert name.split(".")[0] not in PROGRAM_FOLDERS
        assert not name.startswith(("deepvideo_tf.pipelines", "deepvideo_tf.export."))


def test_only_the_programs_side_knows_absl():
    for path in LIBRARY:
        if part_of(path) != "cli":
            assert not any(name.startswith(("absl", "deepvideo_tf.cli")) for name in imports_of(path)), path


def test_models_know_only_keras():
    for path in LIBRARY:
        if part_of(path) in ("models", "layers"):
            assert not any(name.startswith("tensorflow") for name in imports_of(path)), path


def test_the_library_neither_prints_nor_exits():
    for path in LIBRARY:
        if part_of(path) == "cli":
            continue
        calls = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
        names = {call.func.id for call in calls if isinstance(call.func, ast.Name)}
        assert not names & {"print", "exit", "quit"}, path


def test_no_library_module_takes_the_name_of_a_program_folder():
    for folder in PROGRAM_FOLDERS:
        assert not (PACKAGE / folder).exists()
        assert not (PACKAGE / f"{folder}.py").exists()


def loaded_after(statement):
    code = f"import sys; {statement}; print(*sys.modules)"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd="/").stdout
    return set(output.split())


def test_importing_the_package_imports_neither_tensorflow_nor_keras():
    loaded = loaded_after(
        "import deepvideo_tf as dv; dv.errors.ConfigError; dv.ClipSpec; dv.TrainConfig; dv.read_folder"
    )
    assert not loaded & {"tensorflow", "keras", "av"}


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_programs_import_tensorflow_late(path):
    """So that --help and wrong flags are answered within a second."""
    module = "deepvideo_tf." + ".".join(path.relative_to(REPOSITORY).with_suffix("").parts).removesuffix(".__init__")
    assert not loaded_after(f"import {module}") & {"tensorflow", "keras", "av", "matplotlib"}


def test_public_names_exist():
    import deepvideo_tf as dv

    assert all(getattr(dv, name) is not None for name in dv.__all__)
    assert set(dv.__all__) == set(dir(dv))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = dv.nothing


def test_the_version_is_the_same_everywhere():
    from importlib.metadata import version

    import deepvideo_tf as dv

    assert version("deepvideo-tf") == dv.__version__
    assert Path(dv.__file__).parent.name == "deepvideo_tf"
