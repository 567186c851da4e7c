"""The source code of the repository as tests read it: files, imports, strings and names, without importing them."""

import ast
import functools
import re
from pathlib import Path

from tests.support.repository import REPOSITORY

PACKAGE = REPOSITORY / "deepvideo_tf"
PROGRAM_FOLDERS = ("pipelines", "export")


def python_files(*folders):
    """Return the Python files below folders of the repository, sorted."""
    return sorted(path for folder in folders for path in (REPOSITORY / folder).rglob("*.py"))


LIBRARY = python_files("deepvideo_tf")
PROGRAMS = python_files(*PROGRAM_FOLDERS)
MODULES = {
    ".".join(path.relative_to(REPOSITORY).with_suffix("").parts).removesuffix(".__init__"): path for path in LIBRARY
}


def shown(path, line=None):
    """Return a file's name below the repository, with a line number if there is one."""
    name = str(path.relative_to(REPOSITORY))
    return name if line is None else f"{name}:{line}"


def is_in(path, *names):
    """Whether a file is one of these files of the package, or below one of these folders."""
    relative = path.relative_to(PACKAGE) if path.is_relative_to(PACKAGE) else Path("..")
    return any(relative.is_relative_to(name) for name in names)


@functools.cache
def tree_of(path):
    """Return the syntax tree of a file."""
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def nodes(path, *kinds):
    """Return all nodes of these kinds in a file."""
    return [node for node in ast.walk(tree_of(path)) if isinstance(node, kinds)]


def imports_of(path):
    """Yield the line and the full name of each import, at the top of a file or within functions.

    `from a import b` yields `a.b`: whether b is a module or a name within a is up to the caller.
    """
    for node in nodes(path, ast.Import, ast.ImportFrom):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        else:
            assert node.level == 0, f"{shown(path, node.lineno)}: imports are absolute in this repository"
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def strings(path):
    """Yield the line and the text of each string constant, also of parts of f-strings, but not of docstrings."""
    tree = tree_of(path)
    statements = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in statements:
            yield node.lineno, node.value


def names(path):
    """Yield the line and the dotted name of each variable and chain of attributes: `a`, and `a.b` of `a.b`."""
    for node in nodes(path, ast.Name, ast.Attribute):
        if name := dotted(node):
            yield node.lineno, name


def dotted(node):
    """Return `a.b.c` of a chain of attributes; an empty string if it does not begin with a variable."""
    if isinstance(node, ast.Name):
        return node.id
    before = dotted(node.value) if isinstance(node, ast.Attribute) else ""
    return f"{before}.{node.attr}" if before else ""


def module_of(name):
    """Return the module of the package that a full name is or is in; None if there is none."""
    while name and name not in MODULES:
        name = name.rpartition(".")[0]
    return name or None


def named_modules(path):
    """Yield the line and the module for each module of the package that a file imports or names in a string.

    Registries that import late name their modules in strings: `"deepvideo_tf.models.fusion"`, optionally with the name
    within it.
    """
    found = list(imports_of(path))
    found += [(line, text.replace(":", ".")) for line, text in strings(path) if re.fullmatch(r"[\w.]+(:\w+)?", text)]
    for line, name in found:
        if name.startswith("deepvideo_tf.") and (module := module_of(name)):
            yield line, module


def functions(path):
    """Return all functions of a file, also methods and inner ones, each with the arguments that need a type."""
    methods = {
        id(child): not any(dotted(decorator) == "staticmethod" for decorator in child.decorator_list)
        for node in nodes(path, ast.ClassDef)
        for child in node.body
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    found = []
    for node in nodes(path, ast.FunctionDef, ast.AsyncFunctionDef):
        arguments = [*node.args.posonlyargs, *node.args.args][methods.get(id(node), False) :]
        arguments += [*node.args.kwonlyargs, *filter(None, (node.args.vararg, node.args.kwarg))]
        found.append((node, arguments))
    return found


@functools.cache
def private_names():
    """Return all names that begin with one underscore and are defined somewhere in the library."""
    found = set()
    for path in LIBRARY:
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                found.add(node.name)
            elif isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Store):
                found.add(node.id if isinstance(node, ast.Name) else node.attr)
    return {name for name in found if is_private(name)}


def is_private(name):
    """Whether a name begins with an underscore and is not Python's own, as `__init__` is."""
    return name.startswith("_") and name != "_" and not name.endswith("__")


def cycles(graph):
    """Return the strongly connected components of more than one node.

    Args:
        graph: dict from node to the set of nodes it leads to.
    """
    reachable = {}
    for start in graph:
        seen, waiting = set(), [start]
        while waiting:
            for following in graph.get(waiting.pop(), ()):
                if following not in seen:
                    seen.add(following)
                    waiting.append(following)
        reachable[start] = seen
    components = {
        frozenset(other for other in graph if other in reachable[node] and node in reachable[other]) for node in graph
    }
    return sorted((sorted(component) for component in components if len(component) > 1), key=len)
