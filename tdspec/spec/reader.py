"""YAML text to a tree with places, safely.

In: a path, or a text. Out: a `Node` and the problems that do not stop reading; `SpecError` for those that do.
Leaves out: what the keys mean (`schema.py`). YAML's events are read one by one, never composed by the library: nothing
is built for what is refused (tags, anchors that explode, deep nesting), and every key and value keeps its place.
"""

from __future__ import annotations

import difflib
import re
from pathlib import Path

import yaml

from tdspec.errors import Diagnostic, Place, SpecError
from tdspec.spec.source import Node
from tdspec.spec.tree_builder import MAX_DEPTH, TreeBuilder

Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
MAX_BYTES = 1 << 20
UNPRINTABLE = re.compile("[^\x09\x0a\x0d\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
SYNTAX_HINTS = {
    "mapping values are not allowed": "check the indentation, or quote text that holds ': '",
    "',' or '}'": "close the '{' of line {opened}, and separate its entries by commas",
    "',' or ']'": "close the '[' of line {opened}, and separate its items by commas",
    "expected key": "indent every key of a mapping by the same number of spaces",
    "could not find expected ':'": "write 'key: value', with a space after the colon",
    "quoted scalar": "close the quote",
    "cannot start any token": "quote text that starts with this character",
}


def fatal(place: Place, rule: str, message: str, hint: str = "") -> SpecError:
    """A problem that stops reading."""
    return SpecError((Diagnostic(place, "error", rule, "", message, hint),))


def read_file(path: Path, file: str) -> tuple[Node, tuple[Diagnostic, ...]]:
    """Read a YAML file.

    Args:
        path: the file.
        file: what messages call it.

    Returns:
        The top level value, and the problems found.

    Raises:
        SpecError: nothing could be read.
    """
    return read_text(_decode(_read_bytes(path, file), file), file)


def read_text(text: str, file: str, column: int = 1) -> tuple[Node, tuple[Diagnostic, ...]]:
    """Read a YAML text; see `read_file`.

    Args:
        text: the YAML.
        file: what messages call it.
        column: the column of the text's first character, for a text that is part of a line.
    """
    unprintable = UNPRINTABLE.search(text)
    if unprintable:
        place = _place_in(text, unprintable.start(), file)
        raise fatal(place, "encoding", f"found the control character U+{ord(unprintable[0]):04X}, expected text")
    builder = TreeBuilder(file, column)
    try:
        for event in yaml.parse(text, Loader=Loader):
            builder.take(event)
    except yaml.MarkedYAMLError as error:
        raise _syntax_error(error, text, file, column) from None
    if builder.root is None:
        raise fatal(Place(file, 1, column), "empty", "found nothing, expected a spec", "`tdspec init` writes one")
    return builder.root, tuple(builder.diagnostics)


def _read_bytes(path: Path, file: str) -> bytes:
    place = Place(file, 1, 1)
    try:
        with open(path, "rb") as stream:
            content = stream.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise fatal(place, "file", "found no such file, expected a spec", _similar_file(path, file)) from None
    except IsADirectoryError:
        hint = f"name its specs: `tdspec validate {Path(file) / '*.yaml'}`"
        raise fatal(place, "file", "found a directory, expected a YAML file", hint) from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise fatal(place, "file", f"found a file that cannot be read ({reason.lower()}), expected a spec") from None
    if len(content) > MAX_BYTES:
        raise fatal(place, "nesting", f"found more than {MAX_BYTES} bytes, expected a spec of a few lines")
    return content


def _similar_file(path: Path, file: str) -> str:
    try:
        names = [entry.name for entry in path.parent.iterdir() if entry.suffix in {".yaml", ".yml"}]
    except (OSError, ValueError):
        return ""
    close = difflib.get_close_matches(path.name, sorted(names), n=1)
    return f"did you mean '{Path(file).with_name(close[0])}'?" if close else ""


def _decode(content: bytes, file: str) -> str:
    try:
        return content.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        before = error.object[: error.start]
        line, column = before.count(b"\n") + 1, len(before.rpartition(b"\n")[2].decode("utf-8-sig")) + 1
        message = f"found the byte 0x{error.object[error.start]:02X}, which is not UTF-8, expected UTF-8 text"
        raise fatal(Place(file, line, column), "encoding", message, "save the file as UTF-8") from None


def _place_in(text: str, index: int, file: str) -> Place:
    return Place(file, text.count("\n", 0, index) + 1, index - text.rfind("\n", 0, index))


def _syntax_error(error: yaml.MarkedYAMLError, text: str, file: str, column: int) -> SpecError:
    unclosed_quote = "quoted scalar" in (error.context or "") and "end of stream" in (error.problem or "")
    mark = error.context_mark if unclosed_quote else error.problem_mark or error.context_mark
    line, offset = (mark.line, mark.column) if mark else (0, 0)
    lines = text.split("\n")
    if line >= len(lines):
        line, offset = len(lines) - 1, len(lines[-1])
    place = Place(file, line + 1, offset + (column if line == 0 else 1))
    if line < len(lines) and lines[line][offset : offset + 1] == "\t":
        return fatal(place, "syntax", "found a tab, expected spaces", "YAML is indented by spaces only")
    problem = error.problem or "text that is no YAML"
    if "nesting depth" in problem:  # newer releases of the parser have a bound of their own, and look ahead
        return fatal(place, "nesting", f"found more than {MAX_DEPTH} levels of nesting, expected few")
    detail = f"{error.context}, {problem}" if error.context else problem
    hint = next((hint for part, hint in SYNTAX_HINTS.items() if part in detail), "")
    opened = error.context_mark.line + 1 if error.context_mark else line + 1
    return fatal(place, "syntax", f"found text that is not YAML ({detail})", hint.replace("{opened}", str(opened)))
