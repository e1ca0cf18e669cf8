"""The commands that never load TensorFlow, called as users call them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest
import yaml

from tdspec.cli import COMMANDS, execute, make_parser, parse
from tdspec.light_commands import LIGHT_COMMANDS, VALIDATE_FORMATS
from tdspec.spec.formats import FORMATS
from tdspec.spec.load import load
from tdspec.templates import template_names

ROOT = Path(__file__).parent.parent
DIGITS = str(ROOT / "specs" / "digits.yaml")
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


def _call(*words: str, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    call = [sys.executable, "-m", "tdspec", *words]
    return subprocess.run(call, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, check=False)


def _run(*words: str) -> int:
    return execute(parse(["tdspec", *words]))


def test_validate(capsys: pytest.CaptureFixture[str]) -> None:
    assert _run("validate", DIGITS, DIGITS) == 0
    assert capsys.readouterr() == (f"{DIGITS}: ok\n", "1 spec: 0 errors, 0 warnings\n")
    assert _run("validate", DIGITS, "none/*.yaml", str(ROOT), "--set", "seed=1") == 1
    out, err = capsys.readouterr()
    assert out.splitlines()[:2] == [f"{DIGITS}: ok", "none/*.yaml:1:1: error: found no such file, expected a spec"]
    assert f"{ROOT}:1:1: error: found a directory, expected a YAML file" in out
    assert err == "3 specs: 2 errors, 0 warnings\n"


def test_validate_for_machines(capsys: pytest.CaptureFixture[str]) -> None:
    assert tuple(FORMATS) == VALIDATE_FORMATS
    assert _run("validate", DIGITS, "--format", "json", "--set", "seed=x") == 1
    out, err = capsys.readouterr()
    assert err == ""
    (spec,) = json.loads(out)["specs"]
    assert spec["diagnostics"][0]["key"] == "seed"
    assert _run("validate", DIGITS, "--format", "github") == 0
    assert capsys.readouterr() == ("", "")


def test_show(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert _run("show", DIGITS, "--set", "train.epochs=3") == 0
    shown = yaml.safe_load(capsys.readouterr().out)
    assert shown["train"]["epochs"] == 3 and shown["seed"] == 0
    assert shown["teacher"]["backbone"] == {"spec": "digits_teacher.yaml", "weights": "own"}
    assert _run("show", DIGITS, "--format", "json") == 0
    assert json.loads(capsys.readouterr().out) == load(DIGITS).values
    assert _run("show", DIGITS, "--set", "seed=x") == 1
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("--set seed=x:1:6: error: seed: found the text 'x', expected a whole number")


def test_schema(capsys: pytest.CaptureFixture[str]) -> None:
    assert _run("schema") == 0
    assert capsys.readouterr().out == (ROOT / "schemas" / "tdspec.schema.json").read_text("utf-8")


@pytest.mark.parametrize("template", template_names())
def test_init_writes_specs_that_are_valid(
    template: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    target = tmp_path / "new" / "mine.yaml"
    assert _run("init", "--template", template, "new/mine.yaml") == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[-1] == "wrote new/mine.yaml"
    assert err == "next: tdspec train new/mine.yaml\n"
    assert load(target).sha256 == load(ROOT / "specs" / f"{template}.yaml").sha256
    text = target.read_text("utf-8")
    assert text.startswith("# ")
    assert f"specs/{template}.yaml" not in text
    for line in text.splitlines():
        if line.startswith("# yaml-language-server: $schema="):
            assert Path(line.partition("=")[2]).is_file()


def test_init_never_overwrites(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert _run("init") == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["digits.yaml", "digits_teacher.yaml"]
    before = (tmp_path / "digits.yaml").read_text()
    capsys.readouterr()
    assert _run("init") == 1
    assert capsys.readouterr().err == (
        "error: found 'digits.yaml' already there, expected no file\n  hint: name another: `tdspec init PATH`\n"
    )
    assert _run("init", "other.yaml") == 0  # the same teacher serves both
    (tmp_path / "digits_teacher.yaml").write_text("mine")
    assert _run("init", "third.yaml") == 1
    assert (tmp_path / "digits_teacher.yaml").read_text() == "mine"
    assert not (tmp_path / "third.yaml").exists()
    assert (tmp_path / "digits.yaml").read_text() == before
    assert _run("init", "digits_teacher.yaml") == 1
    assert _run("init", "other.yaml/x.yaml") == 1
    capsys.readouterr()
    assert _run("init", "--template", "digit") == 2
    assert "hint: did you mean 'digits'?" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ("frobnicate",),
        ("validate",),
        ("validate", DIGITS, "--format", "xml"),
        ("validate", DIGITS, "--form", "json"),
        ("show",),
        ("show", DIGITS, "--set"),
        ("show", DIGITS, "--nonsense"),
        (),
    ],
    ids=lambda words: " ".join(words[:1] + words[2:]) or "nothing",
)
def test_wrong_calls_end_with_2(words: tuple[str, ...]) -> None:
    done = _call(*words)
    assert done.returncode == 2
    assert done.stdout == "" and "usage: tdspec" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_override_without_a_value_is_a_wrong_call() -> None:
    done = _call("show", DIGITS, "--set", "seed")
    assert (done.returncode, done.stdout) == (2, "")
    assert (
        done.stderr == "error: found the override 'seed', expected KEY.PATH=VALUE\n  hint: write --set train.epochs=3\n"
    )


def test_help_of_everything_has_an_example() -> None:
    for name, command in COMMANDS.items():
        assert command.summary[0].islower() and not command.summary.endswith(".")
        assert all(line.startswith("tdspec ") for line in command.example.splitlines()), name
    help_text = make_parser().format_help()
    assert all(f"\n    {name}" in help_text for name in COMMANDS)
    for name in LIGHT_COMMANDS:
        done = _call(name, "--help")
        assert done.returncode == 0
        assert f"usage: tdspec {name}" in done.stdout and "example:\n  tdspec" in done.stdout


def test_only_the_command_that_is_called_declares_its_arguments() -> None:
    declared = parse(["tdspec", "--verbosity=1", "validate", str(DIGITS)])
    assert declared.specs == [str(DIGITS)]
    with pytest.raises(SystemExit):
        make_parser(["validate"]).parse_args(["show", str(DIGITS)])
    assert make_parser(["validate"]).format_help() == make_parser().format_help()
    done = _call("trian", "x.yaml")
    assert done.returncode == 2 and "'validate', 'show'" in done.stderr


def test_validating_loads_no_module_that_only_others_need() -> None:
    code = "from tdspec.cli import execute, parse; import sys\n"
    code += f"execute(parse(['tdspec', 'validate', {str(DIGITS)!r}]))\n"
    code += (
        "print([m for m in ('numpy', 'xml.etree.ElementTree', 'tdspec.run', 'tdspec.spec.build') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_version() -> None:
    done = _call("--version")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert (done.returncode, done.stdout) == (0, f"tdspec {project['version']}\n")


def test_a_reader_that_stops_early_is_no_error() -> None:
    call = f"{sys.executable} -m tdspec schema | head -c 1"
    done = subprocess.run(call, shell=True, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("{", "")


def test_interrupt_ends_with_one_line(tmp_path: Path) -> None:
    pipe = tmp_path / "spec.yaml"
    os.mkfifo(pipe)
    call = [sys.executable, "-m", "tdspec", "validate", str(pipe)]
    process = subprocess.Popen(call, cwd=ROOT, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True)
    with process, open(pipe, "w"):  # opens as soon as the command reads the spec
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (1, "error: interrupted\n")


def test_paths_that_are_no_text(tmp_path: Path) -> None:
    call = [sys.executable.encode(), b"-m", b"tdspec", b"validate", b"caf\xe9.yaml"]
    done = subprocess.run(call, cwd=ROOT, env=ENVIRONMENT, capture_output=True, check=False)
    assert done.returncode == 1
    assert done.stdout == b"caf\\udce9.yaml:1:1: error: found no such file, expected a spec\n"
