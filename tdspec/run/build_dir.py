"""The build folder: what `compile` writes and `train` reads.

In: a compiled spec. Out: `build/<name>/` with `spec.yaml`, `plan.json`, `graph.svg`; `build/latest` points at it.
Leaves out: what is in the plan (`graph/plan.py`).
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from tdspec.errors import RunError, UsageError
from tdspec.graph.compiler import Compiled
from tdspec.graph.differences import describe as describe_differences
from tdspec.graph.picture import draw
from tdspec.graph.plan import as_text, plan_of
from tdspec.run.run_dir import write_text
from tdspec.spec.bundle import SPEC, bundle

BUILD_ROOT = Path("build")
LATEST = "latest"
PLAN, PICTURE = "plan.json", "graph.svg"


def write_build(compiled: Compiled, folder: Path) -> dict[str, Any]:
    """Write a build folder and point `build/latest` at it; the same bytes for the same spec and versions.

    Returns:
        The plan.
    """
    plan = plan_of(compiled)
    for name, text in bundle(compiled.document, folder).items():
        write_text(folder / name, text)
    write_text(folder / PLAN, as_text(plan))
    write_text(folder / PICTURE, draw(plan))
    _point_latest(folder)
    return plan


def _point_latest(folder: Path) -> None:
    BUILD_ROOT.mkdir(exist_ok=True)
    temporary = BUILD_ROOT / f".{LATEST}-{os.getpid()}"
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(os.path.relpath(folder.resolve(), BUILD_ROOT.resolve()), target_is_directory=True)
    temporary.replace(BUILD_ROOT / LATEST)


def check_build(compiled: Compiled, folder: Path) -> tuple[str, ...]:
    """What differs between the committed plan in `folder` and a fresh one, in words; versions do not count.

    Raises:
        RunError: there is no plan, or it cannot be read.
    """
    committed = read_plan(folder / PLAN)
    fresh = json.loads(as_text(plan_of(compiled)))
    if {**committed, "versions": None} == {**fresh, "versions": None}:
        return ()
    words = describe_differences({**committed, "versions": {}}, {**fresh, "versions": {}})
    return words or ("the plan differs in its details",)


def read_plan(path: Path) -> dict[str, Any]:
    """A plan from its file.

    Raises:
        RunError: it is missing or no plan.
    """
    try:
        plan = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RunError(f"there is no plan {path}", "`tdspec compile SPEC -o DIR` writes one") from error
    except ValueError as error:
        raise RunError(f"{path} is no plan: {error}", "compile the spec again") from error
    if not isinstance(plan, dict) or "terms" not in plan:
        raise RunError(f"{path} is no plan", "compile the spec again")
    return plan


def spec_of(target: str | None) -> Path:
    """The spec that a call means: a spec file, a build folder, or what was compiled last.

    Raises:
        UsageError: nothing was compiled yet, or a folder is no build.
    """
    if target is None:
        if not (BUILD_ROOT / LATEST / SPEC).is_file():
            raise UsageError("nothing is compiled here yet", "name a spec: `tdspec train SPEC`")
        return Path(os.path.realpath(BUILD_ROOT / LATEST)) / SPEC
    path = Path(target)
    if not path.is_dir():
        return path
    if not (path / SPEC).is_file():
        raise UsageError(f"folder '{target}' holds no {SPEC}", "name a spec, or a folder that `tdspec compile` wrote")
    return path / SPEC
