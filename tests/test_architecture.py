"""The shape of the code: imports point backwards, the front end is light, files and functions are short."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "tdspec"
FILES = sorted(path for path in PACKAGE.rglob("*.py") if "_shared" not in path.parts)
# Each stage imports from itself and from what stands before it.
STAGES = ("errors", "resources", "spec", "graph", "data", "run", "serve", "study", "report", "cli")
# The modules beside the stages: to which stage they belong. `tdspec/__init__.py` is what users import: it stands last.
MODULES = {
    "templates": "cli",
    "command": "cli",
    "commands": "cli",
    "light_commands": "cli",
    "heavy_commands": "cli",
    "study_commands": "cli",
    "fetching": "cli",
    "benching": "cli",
    "pipeline": "cli",
    "doctor": "cli",
    "starting": "errors",
    "__version__": "errors",
    "__main__": "cli",
    "__init__": "cli",
}
HEAVY = {"keras", "keras_hub", "tensorflow", "tensorflow_datasets", "numpy", "matplotlib"}
LIGHT = [
    path
    for path in FILES
    if path.relative_to(PACKAGE).parts[0]
    in {"errors.py", "resources.py", "spec", "cli.py", "command.py", "light_commands.py", "templates.py", "__main__.py"}
]
MAX_FILE_LINES = 300
MAX_FUNCTION_LINES = 40


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"), str(path))


def _imports(path: Path) -> Iterator[str]:
    """The full names of the modules a file imports anywhere, for types only included."""
    package = path.relative_to(ROOT).parent.parts
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{module}.{alias.name}" for alias in node.names)


def _stage(module: str) -> str:
    """The stage of a module below tdspec, such as "spec.load"."""
    first = module.split(".")[0]
    return first if first in STAGES else MODULES[first]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_backwards(path: Path) -> None:
    own = STAGES.index(_stage(path.relative_to(PACKAGE).parts[0].removesuffix(".py")))
    for name in _imports(path):
        if name.startswith("tdspec."):
            stage = _stage(name.removeprefix("tdspec."))
            assert STAGES.index(stage) <= own, f"{path} imports {name}"


@pytest.mark.parametrize("path", LIGHT, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_the_front_end_is_light(path: Path) -> None:
    assert not {name.split(".")[0] for name in _imports(path)} & HEAVY


def test_the_front_end_is_found() -> None:
    assert len(LIGHT) > 20


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_files_are_short(path: Path) -> None:
    assert len(path.read_text("utf-8").splitlines()) <= MAX_FILE_LINES


def _code_lines(function: ast.FunctionDef | ast.AsyncFunctionDef, lines: list[str]) -> int:
    """Lines of a function without its docstring, blank lines and comments."""
    start, end = function.lineno, function.end_lineno or function.lineno
    skipped: set[int] = set()
    if ast.get_docstring(function) is not None:
        skipped = set(range(function.body[0].lineno, (function.body[0].end_lineno or 0) + 1))
    numbers = (number for number in range(start, end + 1) if number not in skipped)
    texts = (lines[number - 1].strip() for number in numbers)
    return sum(1 for text in texts if text and not text.startswith("#"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_functions_are_short(path: Path) -> None:
    lines = path.read_text("utf-8").splitlines()
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert _code_lines(node, lines) <= MAX_FUNCTION_LINES, f"{path}:{node.lineno} {node.name}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_modules_say_what_they_do(path: Path) -> None:
    text = ast.get_docstring(_tree(path)) or ""
    if path.name != "__init__.py":
        assert "In: " in text and "Out: " in text and "Leaves out: " in text
