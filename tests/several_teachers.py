"""Small distillations with several teachers, for the tests of every stage."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from graph_helpers import SMALL_IMAGE, facts, mlp, mlp_talker, vit, write

from tdspec.graph.compiler import Compiled, build
from tdspec.spec.load import load


def small_teacher(backbone: Mapping[str, Any], low: int, high: int, **more: Any) -> dict[str, Any]:
    """One item of `teachers`; an MLP is the student of a spec, so that it predicts digits, unless `more` says more."""
    image = {} if "spec" in backbone else {"input": SMALL_IMAGE}
    return {"backbone": dict(backbone), "cut": {"low": low, "high": high}, **image, **more}


def spec_of(
    folder: Path, method: str, teachers: list[dict[str, Any]], student: Any = None, name: str = "several", **more: Any
) -> Path:
    """Write a spec with several teachers, or with one where the list has one, and return its path."""
    for number, units in ((1, (7, 6, 5)), (2, (9, 8))):
        own = {"backbone": mlp(*units), "input": SMALL_IMAGE}
        write(folder, f"mlp_{number}", {"method": "scratch", "seed": number, "student": own})
    one = {key: item for key, item in teachers[0].items() if key not in ("name", "weight")}
    given = {"teachers": teachers} if len(teachers) > 1 else {"teacher": one}
    side = {"backbone": student or mlp(5, 4), "input": SMALL_IMAGE, "cut": {"low": 1, "high": 2}}
    return write(folder, name, {"method": method, **given, "student": side, **more})


def compiled_with(folder: Path, method: str, teachers: list[dict[str, Any]], **more: Any) -> Compiled:
    """Build such a spec."""
    return build(load(spec_of(folder, method, teachers, **more)), facts)


DEEP = small_teacher({"spec": "mlp_1.yaml"}, 1, 3, name="deep")
FLAT = small_teacher({"spec": "mlp_2.yaml"}, 1, 2, name="flat", weight=0.5)
# 17 tokens 12 wide, and 5 tokens 8 wide
FINE = small_teacher(vit(hidden_dim=12, patch_size=2), 1, 2, name="fine")
COARSE = small_teacher(vit(num_layers=3), 1, 3, name="coarse", weight=2.0)


def talker_of(found: Compiled, index: int, images: Any, low: int, high: int) -> Any:
    """An MLP teacher, forward in numpy from its kernels."""
    teacher, parts = found.teachers[index], found.distiller.teachers[index]
    return mlp_talker(
        SimpleNamespace(teacher=teacher.side, distiller=SimpleNamespace(teacher_codec=parts.codec)),  # type: ignore[arg-type]
        "teacher",
        images,
        low,
        high,
    )
