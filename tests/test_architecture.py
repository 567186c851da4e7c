"""The rules of the architecture, read from the source code itself. BUILD.md gives the reasons for them."""

import ast
import dataclasses
import importlib
import re
import tomllib

import pytest

import deepvideo_tf as dv
from deepvideo_tf.config.checks import flag_name
from tests.support.repository import REPOSITORY
from tests.support.source_code import (
    LIBRARY,
    MODULES,
    PACKAGE,
    PROGRAM_FOLDERS,
    PROGRAMS,
    cycles,
    dotted,
    functions,
    imports_of,
    is_in,
    is_private,
    module_of,
    named_modules,
    names,
    nodes,
    private_names,
    python_files,
    shown,
    strings,
    tree_of,
)

TESTS = python_files("tests")
# Folders whose `__init__` holds a dict: from what a user can choose there to the file that does it.
REGISTRIES = (
    "data/annotations",
    "evaluation",
    "execution/engines",
    "formats",
    "metrics",
    "models/towers",
    "training/executors",
    "training/sources",
    "visualization/pictures",
)
TEXT_METHODS = ("startswith", "endswith", "removeprefix")  # a comparison by another name
# Flags that set no field of a config, though there is one of that name.
SAME_NAME = {
    "make_synthetic.py": {"seed"},  # of the videos
    "predict.py": {"clips_per_video"},  # an argument of predict_video; the shards are those of the model
    "predict_many.py": {"clips_per_video"},
    "report.py": {"flip", "init_from"},  # about the data set; the report decides how to train
}
MOST_LINES = 350
REASON = f"Longer than {MOST_LINES} lines because "
LAYER = re.compile(
    r"(?<![A-Za-z0-9])(conv[1-5]|fc[67]|dropout[67]|norm\d|pool\d|subtract_mean)(?![A-Za-z0-9])"
    r"|^(\w+[_/])?(logits|flatten)(/\w+)?$"
)


def refuse(found, advice):
    """Fail if anything was found, with each place and what to do about it."""
    if places := sorted(set(found)):
        pytest.fail("\n".join([f"{advice} Found {len(places)}:", *places]), pytrace=False)


# The ten rules


def folder_of(module):
    """Return the node of a module in the graph of folders; a module at the top of the package is a node of its own."""
    if MODULES[module].name == "__init__.py" or module.count(".") == 1:
        return module
    return module.rpartition(".")[0]


def test_the_graph_of_folders_has_no_cycle():
    imports = {}
    for importer, path in MODULES.items():
        for line, module in named_modules(path):
            pair = folder_of(importer), folder_of(module)
            if pair[0] != pair[1]:
                imports.setdefault(pair, []).append(f"{shown(path, line)} imports {module}")
    graph = {folder: {to for source, to in imports if source == folder} for pair in imports for folder in pair}
    found = []
    for cycle in cycles(graph):
        within = [place for pair, places in imports.items() if set(pair) <= set(cycle) for place in sorted(set(places))]
        found.append("\n".join([f"{', '.join(cycle)} depend on each other:", *within]))
    refuse(found, "The graph of folders has cycles: move what both need into a folder below them.")


def test_which_model_and_what_is_finetuned_is_asked_in_one_place():
    found = []
    for path in LIBRARY + PROGRAMS:
        if is_in(path, "models/registry.py", "training/sources/__init__.py"):
            continue
        for node in nodes(path, ast.Compare, ast.Match, ast.Call):
            if isinstance(node, ast.Match):
                operands, with_text = [node.subject], True
            elif isinstance(node, ast.Call) and dotted(node.func).rpartition(".")[2] in TEXT_METHODS:
                operands, with_text = [node.func.value], True
            elif isinstance(node, ast.Compare) and not isinstance(node.ops[0], ast.Is | ast.IsNot):
                operands = [node.left, *node.comparators]
                with_text = any(map(is_text, operands))
            else:
                continue
            for operand in operands:
                is_field = isinstance(operand, ast.Attribute) and operand.attr in ("model", "finetune")
                if is_field or (with_text and isinstance(operand, ast.Name) and operand.id in ("model", "finetune")):
                    found.append(f"{shown(path, node.lineno)} {ast.unparse(node).splitlines()[0][:100]}")
    refuse(found, "`.model` and `.finetune` are compared in models/registry.py and training/sources/__init__.py only: "
                  "ask the model's ModelInfo, or the Source; config/ uses check_choice.")  # fmt: skip


def is_text(node):
    """Whether an operand is a string, or a tuple, list or set of strings."""
    elements = node.elts if isinstance(node, ast.Tuple | ast.List | ast.Set) else [node]
    return all(isinstance(element, ast.Constant) and isinstance(element.value, str) for element in elements)


def test_only_storage_knows_buckets():
    found = []
    for path in LIBRARY + PROGRAMS:
        if not is_in(path, "storage"):
            used = [*imports_of(path), *names(path)]
            found += [f"{shown(path, line)} {name}" for line, name in used if name.rpartition(".")[2] == "is_remote"]
            found += [f"{shown(path, line)} {text!r}" for line, text in strings(path) if "gs://" in text]
    refuse(found, "Only storage/ asks whether a path is in a bucket: call, or add, a function of "
                  "deepvideo_tf.storage that does the right thing for both.")  # fmt: skip


def test_only_executors_know_how_steps_are_distributed():
    apis = re.compile(r"(jax|(tf|tensorflow)\.distribute|keras\.distribution)(\.|$)")
    found = []
    for path in LIBRARY:
        if not is_in(path, "training/executors"):
            used = [*imports_of(path), *names(path)]
            found += [f"{shown(path, line)} {name}" for line, name in used if apis.match(name)]
            mentions = re.compile(r"\bjax\b|tf\.distribute|keras\.distribution", re.I)
            found += [f"{shown(path, line)} {text!r}" for line, text in strings(path) if mentions.search(text)]
    refuse(found, "jax, tf.distribute and keras.distribution appear in training/executors only: "
                  "let the Executor do it, or ask it.")  # fmt: skip


def test_only_models_know_the_names_of_layers():
    found = []
    for path in LIBRARY + PROGRAMS:
        if not is_in(path, "models"):
            found += [f"{shown(path, line)} {text!r}" for line, text in strings(path) if LAYER.search(text)]
    refuse(found, "Layers are named in models/ only: ask the model's ModelInfo for the first convolution, the "
                  "features, the head, or what to freeze.")  # fmt: skip


def modules_of(value):
    """Return the modules that the value of a registry leads to."""
    if isinstance(value, str):
        return {module_of(value.replace(":", "."))} - {None}
    if isinstance(value, tuple | list):
        return set().union(*map(modules_of, value))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return set().union(*(modules_of(getattr(value, field.name)) for field in dataclasses.fields(value)))
    name = getattr(value, "__module__", None) or getattr(value, "__name__", "")
    return {name} if name.startswith("deepvideo_tf.") else set()


@pytest.mark.parametrize("folder", REGISTRIES)
def test_what_can_be_chosen_is_one_file_each_in_a_dict(folder):
    package = f"deepvideo_tf.{folder.replace('/', '.')}"
    assert (PACKAGE / folder / "__init__.py").exists(), f"deepvideo_tf/{folder} is a folder with a registry"
    dicts = {name: value for name, value in vars(importlib.import_module(package)).items()
             if isinstance(value, dict) and value and name.isupper()}  # fmt: skip
    found = {}
    for name, registry in dicts.items():
        homes = [{module for module in modules_of(value) if module.startswith(f"{package}.")}
                 for value in registry.values()]  # fmt: skip
        if all(len(home) == 1 for home in homes):
            found[name] = [module for (module,) in homes]
    assert found, (
        f"deepvideo_tf/{folder}/__init__.py: expected a dict in capital letters whose values are modules of this "
        f"folder, found {', '.join(dicts) or 'no dict'}"
    )
    for name, modules in found.items():
        twice = {module for module in modules if modules.count(module) > 1}
        assert not twice, f"{package}.{name}: one file for each entry, but {twice} has more: split it"


def test_files_are_short():
    found = []
    for path in python_files("deepvideo_tf", "pipelines", "export", "tests", "benchmarks"):
        count = len(path.read_text(encoding="utf-8").splitlines())
        reason = " ".join((ast.get_docstring(tree_of(path)) or "").split())
        if count > MOST_LINES and REASON not in reason:
            found.append(f"{shown(path)}: {count}")
    refuse(found, f"Files have at most {MOST_LINES} lines: split by topic, or write '{REASON}...' in the docstring.")


def test_the_library_is_typed():
    found = []
    for path in LIBRARY:
        for function, arguments in functions(path):
            untyped = [argument.arg for argument in arguments if argument.annotation is None]
            if function.returns is None and not (function.name == "__init__" and arguments):
                untyped.append("return")
            if untyped:
                found.append(f"{shown(path, function.lineno)} {function.name}: {', '.join(untyped)}")
    refuse(found, "Every function of the library has types for its arguments and what it returns.")


def test_types_are_checked_and_shipped():
    mypy = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["mypy"]
    for option in ("disallow_untyped_defs", "check_untyped_defs"):
        assert mypy.get(option) is True, f"pyproject.toml: set {option} = true in [tool.mypy]"
    assert (PACKAGE / "py.typed").exists(), "deepvideo_tf/py.typed: add the empty file, so that users' mypy reads types"
    calls = [node for node in ast.walk(ast.parse((REPOSITORY / "setup.py").read_text())) if isinstance(node, ast.Call)]
    data = [word.value for call in calls for word in call.keywords if word.arg == "package_data"]
    shipped = {node.value for value in data for node in ast.walk(value) if isinstance(node, ast.Constant)}
    assert "py.typed" in shipped, "setup.py: package_data lacks py.typed"
    stub = PACKAGE / "__init__.pyi"
    if stub.exists():
        assert "*.pyi" in shipped or "__init__.pyi" in shipped, "setup.py: package_data lacks __init__.pyi"


def test_tests_use_public_names_only():
    found = []
    private = private_names()
    for path in TESTS:
        imported = {}
        for node in nodes(path, ast.Import, ast.ImportFrom):
            for alias in node.names:
                imported[alias.asname or alias.name] = f"{getattr(node, 'module', '')}.{alias.name}"
        for line, name in imports_of(path):
            if name.startswith("deepvideo_tf.") and any(map(is_private, name.split("."))):
                found.append(f"{shown(path, line)} {name}")
        for node in nodes(path, ast.Attribute):
            root = dotted(node).split(".")[0]
            ours = "deepvideo_tf" in imported.get(root, "")
            if is_private(node.attr) and (ours or (node.attr in private and root != "self" and root not in imported)):
                found.append(f"{shown(path, node.lineno)} {ast.unparse(node)[:100]}")
        for line, text in strings(path):
            within = re.search(r"\bdeepvideo_tf\b[\w.]*\._[a-z]|\bfrom deepvideo_tf[\w.]* import [^;\n]*\b_[a-z]", text)
            if within or (text in private and not defines(path, text)):
                found.append(f"{shown(path, line)} {text[:100]!r}")
    refuse(found, "Tests use public names only: test what a user sees, or make the name public, with a docstring.")


def defines(path, name):
    """Whether a test file defines the private name itself."""
    return any(node.name == name for node in nodes(path, ast.FunctionDef, ast.ClassDef))


def test_tests_import_neither_tests_nor_benchmarks():
    found = []
    for path in TESTS:
        for line, name in imports_of(path):
            other = name.startswith("tests.") and not name.startswith("tests.support.")
            if other or name.split(".")[0] in ("conftest", "benchmarks"):
                found.append(f"{shown(path, line)} {name}")
        for line, text in strings(path):
            if re.search(r"\b(from|import) (tests\.(?!support\b)|benchmarks\b)", text):
                found.append(f"{shown(path, line)} {text[:100]!r}")
    refuse(found, "Tests import no other tests and no benchmarks: shared helpers are in tests/support, fixtures in a "
                  "conftest.py.")  # fmt: skip


def test_flags_of_fields_are_generated():
    kinds = (dv.TrainConfig, dv.ClipSpec, dv.ShardSpec, dv.DecodeLimits)
    fields = [field for kind in kinds for field in dataclasses.fields(kind)]
    taken = {field.name for field in fields} | {flag_name(field) for field in fields}
    found = []
    for path in PROGRAMS:
        for call in nodes(path, ast.Call):
            if dotted(call.func).rpartition(".")[2].startswith("DEFINE_"):
                name = call.args[0].value if call.args and isinstance(call.args[0], ast.Constant) else None
                if name in taken and name not in SAME_NAME.get(path.name, ()):
                    found.append(f"{shown(path, call.lineno)} --{name}")
    refuse(found, "A flag that sets a field of a config dataclass is generated from the field: use deepvideo_tf.cli.")


# Who may import what


def test_programs_import_only_the_library():
    found = []
    for path in LIBRARY + PROGRAMS:
        for line, name in imports_of(path):
            if re.match(rf"(deepvideo_tf\.)?({'|'.join(PROGRAM_FOLDERS)})(\.|$)", name):
                found.append(f"{shown(path, line)} {name}")
    refuse(found, "Nothing imports a program: move what is shared into the library.")
    for folder in PROGRAM_FOLDERS:
        assert not (PACKAGE / folder).exists(), f"deepvideo_tf/{folder} would hide the programs of that name"
        assert not (PACKAGE / f"{folder}.py").exists(), f"deepvideo_tf/{folder}.py would hide the programs of that name"


def test_the_library_does_not_use_its_own_public_names():
    """They lead everywhere, so that each use would be a cycle."""
    found = []
    for path in LIBRARY:
        aliases = {alias.asname or alias.name for node in nodes(path, ast.Import) for alias in node.names
                   if alias.name == "deepvideo_tf"}  # fmt: skip
        used = [
            (line, name.split(".")[1]) for line, name in names(path) if name.split(".")[0] in aliases and "." in name
        ]
        used += [(line, name.split(".")[1]) for line, name in imports_of(path) if name.startswith("deepvideo_tf.")]
        found += [f"{shown(path, line)} {name}" for line, name in used
                  if name != "__version__" and f"deepvideo_tf.{name}" not in MODULES]  # fmt: skip
    refuse(found, "The library imports names from their modules, not from deepvideo_tf.")


def test_only_cli_knows_absl():
    found = []
    for path in LIBRARY:
        if not is_in(path, "cli.py", "cli"):
            for line, name in imports_of(path):
                if re.match(r"(absl|deepvideo_tf\.cli)(\.|$)", name):
                    found.append(f"{shown(path, line)} {name}")
    refuse(found, "Only deepvideo_tf.cli and the programs use absl: take an argument instead of a flag.")


def test_models_know_only_keras():
    found = []
    for path in LIBRARY:
        if is_in(path, "models"):
            for line, name in imports_of(path):
                if name.split(".")[0] in ("tensorflow", "tf", "torch", "jax"):
                    found.append(f"{shown(path, line)} {name}")
    refuse(found, "Models run under every backend of Keras: use keras.ops.")


def test_the_library_neither_prints_nor_exits():
    found = []
    for path in LIBRARY:
        if not is_in(path, "cli.py", "cli"):
            main = [node for node in nodes(path, ast.If) if ast.unparse(node.test) == "__name__ == '__main__'"]
            allowed = {id(node) for block in main for node in ast.walk(block)}  # of a process of its own
            for call in nodes(path, ast.Call):
                if dotted(call.func) in ("print", "exit", "quit", "sys.exit") and id(call) not in allowed:
                    found.append(f"{shown(path, call.lineno)} {ast.unparse(call)[:100]}")
    refuse(found, "The library neither prints nor exits: log, return, or raise an error of deepvideo_tf.errors.")
