"""New specs from the ones that ship with tdspec.

In: a template's name and a path. Out: the spec there, with the teacher specs it names beside it.
Leaves out: asking questions; a template is a whole spec that runs.
"""

from __future__ import annotations

import re
from pathlib import Path

from tdspec.errors import TdspecError, UsageError
from tdspec.resources import resource
from tdspec.spec.paths import models_in
from tdspec.spec.reader import read_text
from tdspec.spec.source import plain_data
from tdspec.spec.words import did_you_mean, one_of, similar

MODELINE = re.compile(r"^# yaml-language-server: .*\n", re.MULTILINE)


def template_names() -> list[str]:
    """The names of all templates."""
    return sorted(path.stem for path in resource("specs").glob("*.yaml"))


def write_template(template: str, target: Path) -> list[Path]:
    """Write a template, and the specs it names, as new files.

    Args:
        template: a name out of `template_names`.
        target: the file to write; the specs it names are written beside it.

    Returns:
        The files written; a spec that the template names comes before it.

    Raises:
        UsageError: no template has the name.
        TdspecError: a file is there already, or cannot be written.
    """
    names = template_names()
    if template not in names:
        hint = did_you_mean(similar(template, names))
        raise UsageError(f"found the template '{template}', expected {one_of(names)}", hint)
    planned = _planned(template, target)
    for path, text in planned.items():
        if path.exists() and not (path != target and path.read_text("utf-8") == text):
            raise TdspecError(f"found '{path}' already there, expected no file", "name another: `tdspec init PATH`")
    new = [path for path in planned if not path.exists()]
    try:
        for path in new:
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(path, "x", encoding="utf-8") as stream:
                stream.write(planned[path])
    except OSError as error:
        raise TdspecError(f"found '{error.filename}' that cannot be written ({error.strerror})") from None
    return new


def _planned(template: str, target: Path) -> dict[Path, str]:
    """What to write where, teachers first."""
    text = (resource("specs") / f"{template}.yaml").read_text("utf-8")
    planned: dict[Path, str] = {}
    for name in _teachers(text):
        path = target.parent / name
        if path == target:
            hint = "name the new spec otherwise"
            raise TdspecError(f"found '{target}' for the new spec and for its teacher, expected two files", hint)
        planned |= _planned(Path(name).stem, path)
    planned[target] = _at_home(text, template, target)
    return planned


def _teachers(text: str) -> list[str]:
    """The specs that a template names."""
    values = plain_data(read_text(text, "template")[0])
    return [part["backbone"]["spec"] for _, part in models_in(values) if "spec" in part["backbone"]]


def _at_home(text: str, template: str, target: Path) -> str:
    """The template's text with the commands in its comments, and the schema's path, as they are for the new file."""
    schema = resource("schemas/tdspec.schema.json").as_posix()
    moved = MODELINE.sub(lambda _: f"# yaml-language-server: $schema={schema}\n", text)
    return moved.replace(f"specs/{template}.yaml", target.as_posix())
