"""The examples for clusters: valid for their real readers, and each gives every worker the TF_CONFIG of its place."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from tdspec.cli import parse
from tdspec.run.cluster import VARIABLE, Cluster, read_cluster

REPORT = f'#!/usr/bin/env bash\nprintf "%s\\t%s\\n" "${VARIABLE}" "$*" >> "$REPORT"\n'
# What SLURM's own commands do, on one machine: expand a list of hosts, and start a task for each.
SCONTROL = '#!/usr/bin/env bash\n[ "$*" = "show hostnames node[1-3]" ] && printf "node1\\nnode2\\nnode3\\n"\n'
SRUN = (
    "#!/usr/bin/env bash\n"
    '[ "$1" = --kill-on-bad-exit=1 ] && shift\n'
    'for place in 0 1 2; do SLURM_PROCID=$place "$@" || exit 1; done\n'
)


@pytest.fixture
def cluster_folder(repository: Path) -> Path:
    return repository / "examples" / "cluster"


@pytest.fixture
def manifest(cluster_folder: Path) -> dict[str, Any]:
    """The documents of the manifest by their kind."""
    documents = yaml.safe_load_all((cluster_folder / "kubernetes.yaml").read_text(encoding="utf-8"))
    return {document["kind"]: document for document in documents}


def check_script(text: str) -> None:
    # installed by pip beside Python, in a folder that may not be on the PATH
    program = shutil.which("shellcheck", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    assert program is not None
    found = subprocess.run([program, "--shell=bash", "-"], input=text, capture_output=True, text=True, check=False)
    assert (found.returncode, found.stdout) == (0, "")


def calls(folder: Path, command: list[str], **environment: str) -> list[tuple[Cluster, str]]:
    """Run a script, and with what clusters and words it calls `tdspec`."""
    programs: Mapping[str, str] = {"tdspec": REPORT, "scontrol": SCONTROL, "srun": SRUN}
    for name, text in programs.items():
        (folder / name).write_text(text, encoding="utf-8")
        (folder / name).chmod(0o755)
    report = folder / "report.txt"
    report.unlink(missing_ok=True)
    known = {"PATH": f"{folder}:{os.environ['PATH']}", "REPORT": str(report)}
    subprocess.run(command, cwd=folder, env={**known, **environment}, check=True)
    lines = [line.split("\t") for line in report.read_text(encoding="utf-8").splitlines()]
    return [(read_cluster({VARIABLE: config}), words) for config, words in lines]


def test_kubernetes_accepts_the_manifest(manifest: dict[str, Any]) -> None:
    assert set(manifest) == {"Service", "Job"}
    for document in manifest.values():
        kubernetes_validate.validate(document, kubernetes_validate.latest_version(), strict=True)
    manifest["Job"]["spec"]["completion"] = 2
    with pytest.raises(kubernetes_validate.ValidationError, match="completion"):
        kubernetes_validate.validate(manifest["Job"], kubernetes_validate.latest_version(), strict=True)


def test_the_names_in_the_manifest_fit_together(manifest: dict[str, Any]) -> None:
    service, job = manifest["Service"], manifest["Job"]["spec"]
    pod = job["template"]["spec"]
    (container,) = pod["containers"]
    environment = {item["name"]: item["value"] for item in container["env"]}
    assert int(environment["WORKERS"]) == job["completions"] == job["parallelism"]
    assert job["completionMode"] == "Indexed"
    assert service["spec"]["selector"] == job["template"]["metadata"]["labels"]
    assert service["metadata"]["name"] == pod["subdomain"] == manifest["Job"]["metadata"]["name"]
    assert service["spec"]["ports"][0]["port"] == container["ports"][0]["containerPort"]
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}


@pytest.mark.parametrize("started", [False, True])
def test_a_pod_knows_its_place(started: bool, manifest: dict[str, Any], tmp_path: Path) -> None:
    command = manifest["Job"]["spec"]["template"]["spec"]["containers"][0]["command"]
    check_script(command[-1])
    run = tmp_path / "run"
    if started:
        run.mkdir()
        (run / "run.json").touch()
    place = {"JOB_COMPLETION_INDEX": "2", "WORKERS": "3", "SPEC": "s.yaml", "RUN": str(run)}
    addresses = tuple(f"tdspec-{index}.tdspec:2222" for index in range(3))
    words = f"train s.yaml --runs /runs --run-dir {run}" + (" --resume" if started else "")
    assert calls(tmp_path, command, **place) == [(Cluster(addresses, 2), words)]
    parse(["tdspec", *words.split()])


def test_the_slurm_script_is_clean(cluster_folder: Path) -> None:
    check_script((cluster_folder / "slurm.sh").read_text(encoding="utf-8"))


@pytest.mark.parametrize("started", [False, True])
def test_a_slurm_task_knows_its_place(started: bool, cluster_folder: Path, tmp_path: Path) -> None:
    run = tmp_path / "my runs" / "one"
    if started:
        run.mkdir(parents=True)
        (run / "run.json").touch()
    command = ["bash", str(cluster_folder / "slurm.sh"), "s.yaml", str(run)]
    addresses = tuple(f"node{index}:24321" for index in (1, 2, 3))
    words = f"train s.yaml --run-dir {run}" + (" --resume" if started else "")
    found = calls(tmp_path, command, SLURM_JOB_ID="1234321", SLURM_JOB_NODELIST="node[1-3]")
    assert found == [(Cluster(addresses, index), words) for index in range(3)]


def test_the_slurm_script_says_how_it_is_called(cluster_folder: Path) -> None:
    done = subprocess.run(["bash", str(cluster_folder / "slurm.sh")], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and done.stderr.startswith("usage: sbatch ")
