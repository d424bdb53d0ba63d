"""The layout holds: imports go one way, the hot path stays light, files stay small."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "safedocker"
MODULES = sorted(PACKAGE.rglob("*.py"))
NAMES = [str(path.relative_to(ROOT)) for path in MODULES]

# Which rooms a room may look into. Its own is always allowed, and errors.py knows nobody.
ALLOWED = {
    "command": {"errors"},
    "loss": {"command", "errors"},
    "policy": {"loss", "command", "errors"},
    "backup": {"loss", "errors"},
    "edge": {"loss", "policy", "backup", "command", "errors"},
    "errors": set[str](),
    "__init__": set[str](),
}
EVERYWHERE = {
    *("shim", "quick", "survey", "inforce", "asking", "handover", "telling", "hinting"),
    *("whereabouts", "auditing", "ending"),
    *("cli", "explain", "doctor", "install", "__main__"),
}

PURE = (
    *("command/", "loss/", "policy/batch.py", "policy/decide.py", "policy/options.py"),
    *("policy/values.py", "policy/layers.py", "policy/stakes.py", "policy/guarded.py"),
)
IMPURE_IMPORTS = {
    *("io", "pathlib", "random", "shutil", "socket", "subprocess", "tempfile", "time", "urllib"),
}

HOT_IMPORTS = {"os", "sys", "enum", "collections", "__future__"}
HOT_FILES = {"loss/forms.py", "loss/mounts.py", "loss/operands.py"} | {
    "shim.py",
    "quick.py",
    "edge/process.py",
    "edge/lines.py",
    "edge/ledger.py",
    "errors.py",
    "__init__.py",
}
HOT_PACKAGES = {"command/__init__.py", "loss/__init__.py", "edge/__init__.py"}

ONLY_IMPORTERS = {
    "docker": {"edge/wire.py"},
    "questionary": {"edge/question.py"},
    "rich": {"edge/terminal.py", "edge/progress.py"},
    "prompt_toolkit": {"edge/question.py"},
}

MOST_LINES = 500
LONG_TABLES = {
    "command/grammar.py",
    "command/compose_grammar.py",
    "loss/forms.py",
}  # data, not code
EMPTY_NAMES = {"utils", "util", "common", "helpers", "helper", "misc", "base"}


class Import(NamedTuple):
    module: str
    name: str  # what is taken from it, or nothing for the module itself
    line: int
    top: bool  # at the top level of the module, and not for the type checker alone


def inside(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def room(module: str) -> str:
    """`safedocker.loss.forms` is of the room `loss`, `safedocker.shim` its own."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def own_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def is_module(name: str) -> bool:
    path = ROOT.joinpath(*name.split("."))
    return path.is_dir() or path.with_suffix(".py").exists()


def imports(path: Path) -> list[Import]:
    return list(walk(ast.parse(path.read_bytes()).body, top=True))


def walk(nodes: list[ast.stmt], *, top: bool) -> Iterator[Import]:
    """Every import below these statements, in order, with whether it runs when the module does."""
    for node in nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, "", node.lineno, top)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            for alias in node.names:
                below = f"{base}.{alias.name}"
                if is_module(below):
                    yield Import(below, "", node.lineno, top)
                else:
                    yield Import(base, alias.name, node.lineno, top)
        else:
            later = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
                yield from walk(node.body, top=False)
                yield from walk(node.orelse, top=top)
                continue
            for field in ("body", "orelse", "finalbody"):
                yield from walk(getattr(node, field, []), top=top and not later)
            for branch in (*getattr(node, "handlers", ()), *getattr(node, "cases", ())):
                yield from walk(branch.body, top=top and not later)


def is_hot(path: Path) -> bool:
    return inside(path) in HOT_FILES | HOT_PACKAGES or inside(path).startswith("command/")


@pytest.mark.parametrize("path", MODULES, ids=NAMES)
def test_imports_go_one_way(path: Path) -> None:
    here = room(own_name(path))
    if here in EVERYWHERE:
        return
    wrong = [
        f"{inside(path)}:{found.line} imports {found.module}"
        for found in imports(path)
        if found.module.split(".")[0] == "safedocker"
        and room(found.module) not in {here, *ALLOWED[here]}
        and found.module != "safedocker"
    ]
    assert not wrong


@pytest.mark.parametrize("path", sorted((PACKAGE / "edge").glob("*.py")), ids=lambda p: p.name)
def test_edge_takes_nouns_only(path: Path) -> None:
    """Of a room edge may use what it fills and shows, which is capitalised, and call nothing."""
    wrong = [
        f"{inside(path)}:{found.line} takes {found.module} {found.name}"
        for found in imports(path)
        if found.module.startswith("safedocker.")
        and room(found.module) not in {"edge", "errors"}
        and not found.name[:1].isupper()
    ]
    assert not wrong


@pytest.mark.parametrize("path", MODULES, ids=NAMES)
def test_pure_modules_know_no_world(path: Path) -> None:
    if inside(path).startswith(PURE):
        world = [f for f in imports(path) if f.module.split(".")[0] in IMPURE_IMPORTS]
        assert not world


@pytest.mark.parametrize("path", MODULES, ids=NAMES)
def test_hot_modules_import_next_to_nothing(path: Path) -> None:
    if not is_hot(path):
        return
    heavy = []
    for found in imports(path):
        parts = found.module.split(".")
        if not found.top or found.module in HOT_IMPORTS or found.module == "safedocker":
            continue
        target = ROOT.joinpath(*parts)
        file = target / "__init__.py" if target.is_dir() else target.with_suffix(".py")
        if parts[0] != "safedocker" or not is_hot(file):
            heavy.append(f"{inside(path)}:{found.line} imports {found.module}")
    assert not heavy


@pytest.mark.parametrize("path", MODULES, ids=NAMES)
def test_each_heavy_library_has_one_importer(path: Path) -> None:
    wrong = [
        f"{inside(path)}:{found.line} imports {found.module}"
        for found in imports(path)
        if inside(path) not in ONLY_IMPORTERS.get(found.module.split(".")[0], {inside(path)})
    ]
    assert not wrong


@pytest.mark.parametrize("path", MODULES, ids=NAMES)
def test_modules_stay_small_and_say_what_they_are(path: Path) -> None:
    assert path.stem not in EMPTY_NAMES
    assert path.parent.name not in EMPTY_NAMES
    if inside(path) not in LONG_TABLES:
        lines = path.read_text().count("\n")
        assert lines <= MOST_LINES, "past 500 lines: split it"


def test_shim_starts_light() -> None:
    """What a harmless command pays for, in a fresh interpreter as the installed shim starts it."""
    third_party = ("docker", "questionary", "rich", "click")
    heavy = (*third_party, "dataclasses", "tomllib", "re", "json", "typing")
    program = (
        "import os, sys, enum, collections\n"
        "allowed = set(sys.modules); sys.path.append(sys.argv[1]); import safedocker.shim\n"
        "print(*[name for name in sys.argv[2:] if name in sys.modules.keys() - allowed])"
    )
    done = subprocess.run(
        [sys.executable, "-ISE", "-c", program, str(ROOT), *heavy],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout.split(), done.stderr) == ([], "")
