"""The parts of the pages that are made from the code: the programs' flags, and where the code leaves the paper."""

import ast
import re
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

REPOSITORY = Path(__file__).parent.parent
DIFFERS = re.compile(r"Differs\s+from\s+(the\s+paper|theirs)")


class Programs(SphinxDirective):
    """Every program, from its own `--help`: what it does, how it is called, and its flags."""

    def run(self):
        paths = [path for folder in ("pipelines", "export") for path in (REPOSITORY / folder).glob("[!_]*.py")]
        with ThreadPoolExecutor(2) as pool:
            helps = dict(zip(map(program_name, paths), pool.map(help_of, paths), strict=True))
        sections = []
        for name in sorted(helps):
            section = nodes.section(ids=[name], names=[name])
            section += nodes.title(text=name)
            section += self.parse_text_to_nodes(help_to_markdown(name, helps[name]))
            sections.append(section)
        return sections


class Differences(SphinxDirective):
    """Every paragraph of a docstring or comment that says where the code differs from the paper."""

    def run(self):
        found = []
        for path in sorted((REPOSITORY / "deepvideo_tf").rglob("*.py")):
            found += differences_in(path)
        rows = [f"- **`{where}`**: {text}" for where, text in found + differences_of_the_baseline()]
        return self.parse_text_to_nodes("\n".join(rows))


def program_name(path):
    """The name under which `setup.py` installs a program."""
    names = re.search(r"^PROGRAMS = (\{.*?\})$", (REPOSITORY / "setup.py").read_text(encoding="utf-8"), re.M | re.S)
    module = f"deepvideo_tf.{path.parent.name}.{path.stem}"
    return next(f"deepvideo-{name}" for name, home in ast.literal_eval(names[1]).items() if home == module)


def help_of(path):
    """What a program answers to `--help`, from a process of its own: two programs define the same flags."""
    command = [sys.executable, path, "--help"]
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd=REPOSITORY).stdout


def help_to_markdown(name, text):
    """The help of a program as Markdown: indented lines are commands, flags become a table."""
    usage, _, rest = text.partition("\n\n")
    about, _, flags = rest.partition("\nflags:\n")
    usage = re.sub(r"usage: \S+", name, usage)
    paragraphs = [
        f"```sh\n{textwrap.dedent(part)}\n```" if part.startswith("  ") else part
        for part in about.strip("\n").split("\n\n")
    ]
    rows = ["| flag | | default |", "|---|---|---|"]
    for flag, said in re.findall(r"^  (--\S+): (.*?)(?=^  --|\Z)", flags, re.M | re.S):
        said = " ".join(said.split())
        default = re.search(r" ?\(default: '?(.*?)'?\)", said)
        said = said.replace(default[0], "") if default else said
        cells = [f"`{flag}`", said.replace("|", "\\|").replace("<", "\\<"), f"`{default[1]}`" if default else ""]
        rows.append(f"| {' | '.join(cells)} |")
    return "\n\n".join([f"```\n{usage}\n```", *paragraphs, "\n".join(rows)]) + "\n"


def differences_in(path):
    """(name, paragraph) for each place of a file that says where it differs from the paper."""
    source = path.read_text(encoding="utf-8")
    lines = source.splitlines()
    module = ".".join(path.relative_to(REPOSITORY).with_suffix("").parts)
    scopes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    for match in DIFFERS.finditer(source):
        number = source.count("\n", 0, match.start())
        around = [scope for scope in scopes if scope.lineno <= number + 1 <= scope.end_lineno]
        text = paragraph_at(lines, number)
        if around and text.startswith("Differs"):  # what differs stands in the summary
            text = f"{ast.get_docstring(around[-1]).splitlines()[0]} {text}"
        yield ".".join([module, *(scope.name for scope in around)]), text


def differences_of_the_baseline():
    """The list of BUILD.md, on the feature histograms as a whole."""
    build = (REPOSITORY / "BUILD.md").read_text(encoding="utf-8")
    listed = re.search(r"^Differs from the paper \(section 4\.1\):\n\n(.*?)\n\n", build, re.M | re.S)[1]
    return [("deepvideo_tf.baseline", " ".join(item.split())) for item in re.split(r"^- ", listed, flags=re.M)[1:]]


def paragraph_at(lines, number):
    """The paragraph of a docstring or comment around a line: up to empty lines, or to the next argument."""
    texts = [line.strip().removeprefix("# ").removeprefix('"""') for line in lines]
    is_comment = lines[number].lstrip().startswith("#")
    indent = [len(line) - len(line.lstrip()) for line in lines]

    def begins(index):
        if is_comment:
            return not lines[index - 1].lstrip().startswith("#")
        return not texts[index - 1] or bool(re.match(r"\w+: ", texts[index]) and indent[index] <= indent[index + 1])

    def ends(index):
        following = lines[index + 1].strip()
        if is_comment:
            return not following.startswith("#")
        return following in ("", '"""') or following.endswith('"""') or bool(re.match(r"\w+: ", following))

    first = last = number
    while not begins(first):
        first -= 1
    while not ends(last):
        last += 1
    return re.sub(r"^(\w+): ", r"`\1`: ", " ".join(texts[first : last + 1]))


def setup(app):
    """Called by Sphinx."""
    app.add_directive("programs", Programs)
    app.add_directive("differences", Differences)
    return {"version": "1", "parallel_read_safe": True}
