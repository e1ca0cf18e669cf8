"""The build folder: three files, a link to the newest, and words for what is stale."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from run_support import files_below, write_pair

from tdspec.errors import RunError, UsageError
from tdspec.run.build_dir import check_build, read_plan, spec_of, write_build
from tdspec.run.prepare import compile_without_weights
from tdspec.spec.load import load


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A spec in the working folder."""
    monkeypatch.chdir(tmp_path)
    write_pair(tmp_path)
    return Path("small.yaml")


def test_a_build_holds_the_spec_the_plan_and_the_picture(spec: Path) -> None:
    document = load(spec)
    plan = write_build(compile_without_weights(document), Path("build/small"))
    assert files_below(Path("build/small")) == {"spec.yaml", "spec.teacher.yaml", "plan.json", "graph.svg"}
    assert read_plan(Path("build/small/plan.json")) == json.loads(json.dumps(plan))
    assert Path("build/small/graph.svg").read_text("utf-8").rstrip().endswith("</svg>")
    again = load("build/small/spec.yaml")
    assert again.sha256 == document.sha256
    assert again.spec.train == document.spec.train
    assert Path(again.spec.teacher.backbone.spec).name == "spec.teacher.yaml"  # type: ignore[union-attr]


def test_latest_is_the_newest_build_wherever_it_lies(spec: Path, tmp_path: Path) -> None:
    compiled = compile_without_weights(load(spec, ["method=scratch"]))
    for folder in (Path("build/small"), Path("elsewhere/plan"), tmp_path / "absolute"):
        write_build(compiled, folder)
        assert Path("build/latest").resolve() == folder.resolve()
        assert Path("build/latest").readlink().is_absolute() is False
        assert spec_of(None) == folder.resolve() / "spec.yaml"
        assert files_below(Path("build")) >= {"small/spec.yaml"}
    assert {path.name for path in Path("build").iterdir()} == {"small", "latest"}


def test_what_a_call_means(spec: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nothing is compiled here yet"):
        spec_of(None)
    with pytest.raises(UsageError, match=r"holds no spec.yaml"):
        spec_of(str(tmp_path))
    assert spec_of("small.yaml") == Path("small.yaml")
    assert spec_of("none.yaml") == Path("none.yaml")  # reading it gives the message
    write_build(compile_without_weights(load(spec, ["method=scratch"])), Path("build/small"))
    assert spec_of("build/small") == Path("build/small/spec.yaml")


def test_check_tells_a_stale_plan_in_words(spec: Path) -> None:
    folder = Path("plan")
    write_build(compile_without_weights(load(spec)), folder)
    before = (folder / "plan.json").read_bytes()
    assert check_build(compile_without_weights(load(spec)), folder) == ()
    spec.write_text(f"# a comment changes nothing\n{spec.read_text()}")
    assert check_build(compile_without_weights(load(spec)), folder) == ()
    words = "\n".join(check_build(compile_without_weights(load(spec, ["communication.message.dim=7"])), folder))
    assert "message" in words and "6" in words and "7" in words
    assert check_build(compile_without_weights(load(spec, ["train.epochs=3"])), folder)
    assert (folder / "plan.json").read_bytes() == before


def test_other_versions_do_not_make_a_plan_stale(spec: Path) -> None:
    compiled = compile_without_weights(load(spec, ["method=scratch"]))
    write_build(compiled, Path("plan"))
    plan = json.loads(Path("plan/plan.json").read_text())
    assert set(plan["versions"]) == {"tdspec", "keras", "keras-hub", "tensorflow"}
    plan["versions"]["keras"] = "1.0"
    Path("plan/plan.json").write_text(json.dumps(plan))
    assert check_build(compiled, Path("plan")) == ()


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "null"])
def test_what_is_no_plan(text: str, tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    path.write_text(text)
    with pytest.raises(RunError, match="is no plan"):
        read_plan(path)
    path.unlink()
    with pytest.raises(RunError, match="there is no plan"):
        read_plan(path)
