"""YAML events to a tree, within bounds.

In: the events of one text, in order. Out: `TreeBuilder.root` and the problems found on the way.
Leaves out: bytes, characters and syntax errors (`reader.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import yaml

from tdspec.errors import Diagnostic, Place, SpecError
from tdspec.spec.scalars import read_scalar
from tdspec.spec.source import Entry, KeyPath, Node, dotted

MAX_DEPTH = 40
MAX_NODES = 20_000
TEXT_TAGS = {"!", "tag:yaml.org,2002:str"}
DATA_TAGS = {"tag:yaml.org,2002:map", "tag:yaml.org,2002:seq", "!"}


@dataclass(slots=True)
class _Frame:
    """A collection that is still open; `key` waits for its value, `refused` says that the value is left out."""

    node: Node
    path: KeyPath
    anchor: str | None
    key: str | None = None
    key_place: Place | None = None
    refused: bool = False


class TreeBuilder:
    """Builds a tree from YAML events.

    Args:
        file: what places call the text.
        column: the column of the text's first character.
    """

    def __init__(self, file: str, column: int = 1):
        self.file = file
        self.column = column
        self.root: Node | None = None
        self.diagnostics: list[Diagnostic] = []
        self._frames: list[_Frame] = []
        self._anchors: dict[str, Node | None] = {}
        self._num_nodes = 0
        self._num_documents = 0

    def take(self, event: Any) -> None:
        """Take the next event; raises SpecError where reading cannot go on."""
        match event:
            case yaml.DocumentStartEvent():
                self._num_documents += 1
                if self._num_documents > 1:
                    self._stop(event, "document", "found a second document, expected one", "split the file at '---'")
            case yaml.AliasEvent():
                self._alias(event)
            case yaml.ScalarEvent():
                self._scalar(event)
            case yaml.MappingStartEvent():
                self._open(event, {})
            case yaml.SequenceStartEvent():
                self._open(event, [])
            case yaml.CollectionEndEvent():
                self._close()

    def _place(self, event: Any) -> Place:
        mark = event.start_mark
        return Place(self.file, mark.line + 1, mark.column + (self.column if mark.line == 0 else 1))

    def _path(self) -> KeyPath:
        """The key path of the value that comes next."""
        if not self._frames:
            return ()
        frame = self._frames[-1]
        return (*frame.path, len(frame.node.value) if isinstance(frame.node.value, list) else frame.key or "")

    def _report(self, place: Place, rule: str, path: KeyPath, message: str, hint: str = "") -> None:
        self.diagnostics.append(Diagnostic(place, "error", rule, dotted(path), message, hint))

    def _stop(self, event: Any, rule: str, message: str, hint: str = "") -> None:
        raise SpecError((Diagnostic(self._place(event), "error", rule, "", message, hint), *self.diagnostics))

    def _expects_key(self) -> bool:
        frame = self._frames[-1] if self._frames else None
        return frame is not None and isinstance(frame.node.value, dict) and frame.key is None and not frame.refused

    def _count(self, event: Any, size: int) -> None:
        self._num_nodes += size
        if self._num_nodes > MAX_NODES:
            rule = "anchor" if size > 1 else "nesting"
            self._stop(event, rule, f"found more than {MAX_NODES} values, expected a spec of a few lines")

    def _alias(self, event: Any) -> None:
        node = self._anchors.get(event.anchor)
        if event.anchor not in self._anchors:
            self._stop(event, "anchor", f"found *{event.anchor}, expected &{event.anchor} before it")
        elif node is None:
            self._stop(event, "anchor", f"found *{event.anchor} in &{event.anchor}, expected no value in itself")
        elif self._expects_key():
            self._stop(event, "key-type", f"found *{event.anchor} as a key, expected text")
        else:
            self._count(event, node.size)
            if len(self._frames) + node.height > MAX_DEPTH:
                self._stop(event, "nesting", f"found more than {MAX_DEPTH} levels of nesting, expected few")
            self._attach(Node(self._place(event), node.value, True, node.plain, node.size, node.height))

    def _scalar(self, event: yaml.ScalarEvent) -> None:
        if self._expects_key():
            self._key(event)
            return
        self._count(event, 1)
        place, plain = self._place(event), bool(event.implicit[0])
        value: Any = event.value
        if event.tag is not None and event.tag not in TEXT_TAGS:
            self._refuse_tag(event, self._path())
        elif plain:
            try:
                value = read_scalar(event.value)
            except ValueError as error:
                self._report(place, "number", self._path(), str(error))
        node = Node(place, value, plain=plain)
        if event.anchor:
            self._anchors[event.anchor] = node
        self._attach(node)

    def _refuse_tag(self, event: Any, path: KeyPath) -> None:
        tag = event.tag.replace("tag:yaml.org,2002:", "!!")
        hint = "leave the tag out; tdspec reads data, not code"
        self._report(self._place(event), "tag", path, f"found the tag {tag}, expected a plain value", hint)

    def _key(self, event: yaml.ScalarEvent) -> None:
        frame, place = self._frames[-1], self._place(event)
        path = (*frame.path, event.value)
        frame.key_place, frame.refused = place, True
        if event.tag is not None and event.tag not in TEXT_TAGS:
            self._refuse_tag(event, path)
        elif event.implicit[0] and event.value == "<<":
            hint = "write the keys where they belong, or repeat a whole value by an alias"
            self._report(place, "merge-key", path, "found a merge key, expected a key of the spec", hint)
        elif event.implicit[0] and not _is_text(event.value):
            hint = f"quote it for text: '{event.value}'"
            self._report(place, "key-type", path, f"found {event.value or 'nothing'} as a key, expected text", hint)
        elif event.value in frame.node.value:
            first = frame.node.value[event.value].place
            message = f"found a second time, expected once (first in line {first.line})"
            self._report(place, "duplicate-key", path, message, "delete one of them")
        else:
            frame.refused = False
        frame.key = event.value

    def _open(self, event: Any, value: Any) -> None:
        if self._expects_key():
            kind = "mapping" if isinstance(value, dict) else "list"
            self._stop(event, "key-type", f"found a {kind} as a key, expected text", "quote text in brackets")
        if len(self._frames) >= MAX_DEPTH:
            self._stop(event, "nesting", f"found more than {MAX_DEPTH} levels of nesting, expected few")
        self._count(event, 1)
        if event.tag is not None and event.tag not in DATA_TAGS:
            self._refuse_tag(event, self._path())
        if event.anchor:
            self._anchors[event.anchor] = None
        node = Node(self._place(event), value, inline=bool(event.flow_style))
        self._frames.append(_Frame(node, self._path(), event.anchor))

    def _close(self) -> None:
        frame = self._frames.pop()
        if frame.anchor:
            self._anchors[frame.anchor] = frame.node
        self._attach(frame.node)

    def _attach(self, node: Node) -> None:
        if not self._frames:
            self.root = node
            return
        frame = self._frames[-1]
        parent = frame.node
        parent.size += node.size
        parent.height = max(parent.height, node.height + 1)
        if isinstance(parent.value, list):
            parent.value.append(node)
        else:
            if not frame.refused and frame.key is not None and frame.key_place is not None:
                parent.value[frame.key] = Entry(frame.key_place, node)
            frame.key, frame.refused = None, False


def _is_text(text: str) -> bool:
    """Whether an unquoted key is text."""
    try:
        return isinstance(read_scalar(text), str)
    except ValueError:
        return False
