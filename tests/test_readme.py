"""What the README and the examples say can be done: every command, path and spec in them is real."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from call_lines import shell_calls, usage_call
from run_support import ROOT

from tdspec.cli import COMMANDS, parse
from tdspec.spec.load import check

README = (ROOT / "README.md").read_text("utf-8")
EXAMPLES = sorted(path for path in (ROOT / "examples").rglob("*") if path.is_file() and "__pycache__" not in path.parts)


def blocks(language: str) -> Iterator[str]:
    """The fenced blocks of a language."""
    yield from re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def command_after(marker: str) -> str:
    """The one line of shell below a marker."""
    found = re.findall(rf"^<!-- {marker} -->\n```bash\n(.*)\n```$", README, re.MULTILINE)
    assert len(found) == 1
    return str(found[0])


@pytest.mark.parametrize("marker", ["main-command", "test-command"])
def test_the_parts_of_a_marked_command_are_real(marker: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    programs = []
    for part in command_after(marker).split(" && "):
        program, *words = shlex.split(part)
        programs.append(Path(program).name)
        if programs[-1] == "tdspec":
            parse(["tdspec", *words])
        if programs[-1] == "pip":
            extras = re.fullmatch(r"\.\[(.*)\]", words[-1])
            assert words[0] == "install" and extras is not None
            assert set(extras[1].split(",")) <= set(project["optional-dependencies"])
        for word in words:
            if "/" in word and not word.startswith("-"):
                assert (ROOT / word).exists(), word
    last = {"main-command": ["python3", "pip", "tdspec", "tdspec"], "test-command": ["python3", "pip", "pytest"]}
    assert programs == last[marker]


def test_ci_runs_the_test_command_of_the_readme() -> None:
    line = re.search(r"^test_command=\$\((.*)\)$", (ROOT / ".ci/run").read_text("utf-8"), re.MULTILINE)
    assert line is not None
    done = subprocess.run(["bash", "-c", line[1]], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == command_after("test-command")


def test_every_whole_spec_is_valid(tmp_path: Path) -> None:
    folder = shutil.copytree(ROOT / "specs", tmp_path / "specs")
    whole = [text for text in blocks("yaml") if "version" in (yaml.safe_load(text) or {})]
    assert whole
    for text in whole:
        (folder / "example.yaml").write_text(text)
        assert check(folder / "example.yaml") == ()


def test_every_call_in_the_readme_parses() -> None:
    calls = [words for text in blocks("(?:bash|sh|console)") for words in shell_calls(text.replace("\n$ ", "\n"))]
    # What is not there yet is named under Limits.
    prose = re.sub(r"^```.*?^```$", "", README.partition("\n## Limits\n")[0], flags=re.MULTILINE | re.DOTALL)
    inline = re.findall(r"`(tdspec [a-z]+[^`]*)`", prose)
    for words in [*calls, *map(usage_call, inline)]:
        parse(words)
    assert {usage_call(text)[1] for text in inline} == set(COMMANDS)


def test_the_links_of_the_readme_lead_somewhere() -> None:
    targets = [target for target in re.findall(r"\]\(([^)]+)\)", README) if not target.startswith(("http", "#"))]
    assert targets
    assert [target for target in targets if not (ROOT / target.partition("#")[0]).exists()] == []


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_starts_with_what_it_shows_and_how_it_is_called(path: Path) -> None:
    text = path.read_text("utf-8")
    name = path.relative_to(ROOT).as_posix()
    if path.suffix == ".py":
        head = re.match(r'"""(.*?)"""', text, re.DOTALL)
        assert head is not None
        first, *_, call = head[1].strip().splitlines()
        assert first.endswith(".") and call.strip().startswith(f"python {name}")
        compile(text, name, "exec")
    elif path.suffix == ".sh":
        assert re.search(rf"^#     (bash {name}|sbatch .*{name} .*)$", text, re.MULTILINE)
    else:
        assert text.startswith("# ")


def test_every_call_in_an_example_parses() -> None:
    calls = []
    for path in EXAMPLES:
        text = path.read_text("utf-8")
        # those of a cluster's script are in functions, which test_examples_cluster.py runs
        if path.suffix == ".sh" and path.parent.name != "cluster":
            calls += list(shell_calls(text))
        if path.suffix in (".yml", ".yaml"):
            calls += list(shell_calls("\n".join(re.findall(r"(?:run|entry): (tdspec .*)", text))))
    for words in calls:
        parse([*words, "a.yaml"] if words[-1] == "validate" else words)
    assert {words[1] for words in calls} >= {"init", "validate", "layers", "compile", "train", "evaluate"}


def test_the_hook_checks_what_it_is_given() -> None:
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text("utf-8"))
    assert parse([*hook["entry"].split(), "specs/digits.yaml"]).run.__name__ == COMMANDS["validate"].run.__name__
    (repository,) = yaml.safe_load((ROOT / "examples/ci/pre-commit-config.yaml").read_text("utf-8"))["repos"]
    (local,) = repository["hooks"]
    for entry in (hook, local):
        assert re.search(entry["files"], "specs/digits.yaml") and not re.search(
            entry["files"], "specs/plans/x/spec.yaml"
        )
    workflow = yaml.safe_load((ROOT / "examples/ci/github-workflow.yml").read_text("utf-8"))
    runs = [step["run"] for step in workflow["jobs"]["validate"]["steps"] if "run" in step]
    assert any("tdspec validate" in run and "--format github" in run for run in runs)
