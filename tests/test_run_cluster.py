"""TF_CONFIG: who the workers are, and what is said where it does not say so."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tdspec.errors import RunError
from tdspec.run.cluster import VARIABLE, Cluster, config, is_clustered, read_cluster

TWO = ("host0:2222", "host1:2222")


def read(value: Any) -> Cluster:
    return read_cluster({VARIABLE: value if isinstance(value, str) else json.dumps(value)})


def described(cluster: Any, kind: Any = "worker", index: Any = 0) -> dict[str, Any]:
    return {"cluster": cluster, "task": {"type": kind, "index": index}}


@pytest.mark.parametrize("index", [0, 1])
def test_workers_alone(index: int) -> None:
    assert read(described({"worker": TWO}, index=index)) == Cluster(TWO, index)


def test_the_chief_comes_first() -> None:
    groups = {"worker": ["a:1", "[::1]:2"], "chief": ["c:3"]}
    assert read(described(groups, "chief", 0)) == Cluster(("c:3", "a:1", "[::1]:2"), 0)
    assert read(described(groups, "worker", 1)) == Cluster(("c:3", "a:1", "[::1]:2"), 2)


def test_what_is_written_is_read() -> None:
    assert read(config(Cluster(TWO, 1))) == Cluster(TWO, 1)


def test_whether_there_are_others() -> None:
    assert is_clustered({VARIABLE: config(Cluster(TWO, 1))})
    assert not is_clustered({VARIABLE: config(Cluster(TWO[:1], 0))})
    assert not is_clustered({VARIABLE: ""}) and not is_clustered({})


@pytest.mark.parametrize("environment", [{}, {VARIABLE: ""}])
def test_without_it(environment: dict[str, str]) -> None:
    with pytest.raises(RunError, match="multi_worker, but the environment variable TF_CONFIG is not set") as caught:
        read_cluster(environment)
    assert "set TF_CONFIG" in caught.value.hint and "tdspec train --workers N" in caught.value.hint


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("{", "is no JSON: Expecting"),
        ("[]", "has no mapping 'cluster'"),
        ({"task": {}}, "has no mapping 'cluster'"),
        ({"cluster": {"worker": TWO}}, "has no mapping 'task'"),
        (described({}), "names no worker"),
        (described({"worker": []}), "names no worker"),
        (described({"worker": TWO, "ps": ["p:1"]}), "has a 'ps' in its cluster"),
        (described({"worker": "a:1"}), "has no list of addresses for 'worker'"),
        (described({"worker": ["host0"]}), "has the address 'host0', expected host:port"),
        (described({"worker": ["host0:http"]}), "has the address 'host0:http', expected host:port"),
        (described({"worker": [7]}), "has the address '7', expected host:port"),
        (described({"worker": ["a:1", "a:1"]}), "has the address a:1 twice"),
        (described({"worker": TWO}, index=2), "is worker 2, expected one of worker 0, worker 1"),
        (described({"worker": TWO}, index="0"), "is worker 0, expected one of"),
        (described({"worker": TWO}, kind="chief"), "is chief 0, expected one of"),
        ({"cluster": {"worker": TWO}, "task": {}}, "is None None, expected one of"),
    ],
)
def test_what_is_refused(value: Any, message: str) -> None:
    with pytest.raises(RunError) as caught:
        read(value)
    assert message in caught.value.message and caught.value.hint.startswith("it looks like {")
