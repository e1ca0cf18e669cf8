"""Which processes train one model together: what the environment variable TF_CONFIG says.

In: TF_CONFIG, as TensorFlow's own tools and cluster managers set it. Out: `Cluster`, or a RunError that says how to
mend it. Leaves out: connecting the processes (`strategy.py`), starting some on this machine (`local_workers.py`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from tdspec.errors import RunError

VARIABLE = "TF_CONFIG"
# The first of all is the chief; a cluster without "chief" has worker 0 for it.
ROLES = ("chief", "worker")
# How a worker begins that says only what the chief says as well.
CHIEF_ENDED = "the chief has ended"
EXAMPLE = '{"cluster": {"worker": ["host0:2222", "host1:2222"]}, "task": {"type": "worker", "index": 0}}'


@dataclass(frozen=True)
class Cluster:
    """The workers of a run, and which of them this process is.

    Attributes:
        addresses: "host:port" of each, the chief first.
        index: of this process among them.
    """

    addresses: tuple[str, ...]
    index: int


def config(cluster: Cluster) -> str:
    """TF_CONFIG as `read_cluster` reads it."""
    task = {"type": "worker", "index": cluster.index}
    return json.dumps({"cluster": {"worker": list(cluster.addresses)}, "task": task})


def is_clustered(environment: Mapping[str, str]) -> bool:
    """Whether TF_CONFIG says that this process has others beside it."""
    return bool(environment.get(VARIABLE)) and len(read_cluster(environment).addresses) > 1


def read_cluster(environment: Mapping[str, str]) -> Cluster:
    """The cluster that TF_CONFIG names.

    Args:
        environment: of the process.

    Raises:
        RunError: TF_CONFIG is missing, or does not say who the workers are and which one this is.
    """
    text = environment.get(VARIABLE)
    if not text:
        hint = (
            f"set {VARIABLE} on every machine ({EXAMPLE}), or start N processes on this one: tdspec train --workers N"
        )
        raise RunError(f"train.strategy is multi_worker, but the environment variable {VARIABLE} is not set", hint)
    try:
        found = json.loads(text)
    except ValueError as error:
        _refuse(f"is no JSON: {error}")
    groups = _mapping(found, "cluster")
    unknown = sorted(set(groups) - set(ROLES))
    if unknown:
        _refuse(f"has a '{unknown[0]}' in its cluster, expected only 'chief' and 'worker'")
    members = [(role, index, address) for role in ROLES for index, address in enumerate(_addresses(groups, role))]
    if not members:
        _refuse("names no worker")
    task = _mapping(found, "task")
    places = [(role, index) for role, index, _ in members]
    here = (task.get("type"), task.get("index"))
    if here not in places:
        known = ", ".join(f"{role} {index}" for role, index in places)
        _refuse(f"says that this process is {here[0]} {here[1]}, expected one of {known}")
    addresses = tuple(address for _, _, address in members)
    twice = sorted({address for address in addresses if addresses.count(address) > 1})
    if twice:
        _refuse(f"has the address {twice[0]} twice")
    return Cluster(addresses, places.index(here))


def _mapping(found: Any, key: str) -> Mapping[str, Any]:
    value = found.get(key) if isinstance(found, dict) else None
    if not isinstance(value, dict):
        _refuse(f"has no mapping '{key}'")
    return value


def _addresses(groups: Mapping[str, Any], role: str) -> list[str]:
    addresses = groups.get(role, [])
    if not isinstance(addresses, list):
        _refuse(f"has no list of addresses for '{role}'")
    for address in addresses:
        host, _, port = str(address).rpartition(":")
        if not host or not port.isdecimal():
            _refuse(f"has the address '{address}', expected host:port")
    return addresses


def _refuse(what: str) -> NoReturn:
    raise RunError(f"the environment variable {VARIABLE} {what}", f"it looks like {EXAMPLE}")
