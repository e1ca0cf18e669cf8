"""A team of one gets everything for free; workers that cannot work together are told so."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from run_support import LONELY, call, write_spec

from tdspec.errors import RunError
from tdspec.run.cluster import VARIABLE, Cluster, config
from tdspec.run.local_workers import free_ports
from tdspec.run.strategy import make_strategy
from tdspec.run.team import Team, team_of

TWO = Cluster(("host0:2222", "host1:2222"), 1)

# What two workers say to each other, in one process each.
TALK = """
import json, sys
from tdspec.starting import start_tensorflow
start_tensorflow()
import keras
import numpy as np
from tdspec.errors import RunError
from tdspec.run.strategy import make_strategy
from tdspec.run.team import team_of

def message(task):
    try:
        task()
    except RunError as error:
        return error.message

def refuse():
    raise RunError("no such run")

team = team_of(make_strategy("multi_worker", "auto"))
with team.strategy.scope():
    variables = [keras.Variable(np.float32(team.index + 0.1)), keras.Variable(2**40 + team.index, dtype="int64")]
found = {
    "exchange": team.exchange(chr(228) * (40 * team.index)),
    "as_chief": team.as_chief(lambda: [1.5, None, team.index]),
    "chief_first": team.chief_first(lambda: team.index),
    "refused": message(lambda: team.as_chief(refuse)),
    "agree": [team.agree(3 + team.index, stop=False), team.agree(1, stop=bool(team.index))],
    "differ": message(lambda: team.refuse_differences(spec="a", data=str(team.index))),
    "uneven": message(lambda: team.refuse_uneven(9)),
    "even": message(lambda: team.refuse_uneven(8)),
}
team.share(variables)
print(json.dumps({**found, "shared": [float(variable.numpy()) for variable in variables]}))
"""


def test_one_alone() -> None:
    team = team_of(tf.distribute.get_strategy())
    assert team == Team(tf.distribute.get_strategy(), 0, 1) and team.is_chief
    assert team.exchange("word") == ["word"]
    assert team.as_chief(lambda: Path("not JSON")) == team.chief_first(lambda: Path("not JSON")) == Path("not JSON")
    assert team.agree(7, stop=False) == (7, False) and team.agree(7, stop=True) == (7, True)
    team.share([])
    team.refuse_differences(spec="a")
    team.refuse_uneven(7)


def test_replicas_of_one_process_are_no_team() -> None:
    assert team_of(make_strategy("mirrored", 2)).size == 1


@pytest.mark.parametrize(
    "error",
    [
        tf.errors.UnavailableError(None, None, "Socket closed"),
        tf.errors.InternalError(None, None, "Collective ops is aborted by: something"),
    ],
)
def test_a_lost_worker_is_an_error_of_the_run(error: tf.errors.OpError) -> None:
    strategy = tf.distribute.get_strategy()
    lost = "worker 1 of 2 stops, since another one has ended"
    with pytest.raises(RunError, match=lost), Team(strategy, 1, 2).lost_is_an_error():
        raise error
    with pytest.raises(type(error)), Team(strategy, 0, 1).lost_is_an_error():
        raise error


def test_other_errors_pass() -> None:
    with pytest.raises(tf.errors.InvalidArgumentError), Team(tf.distribute.get_strategy(), 1, 2).lost_is_an_error():
        raise tf.errors.InvalidArgumentError(None, None, "Input is no JPEG")


@pytest.mark.slow
def test_two_workers_agree(repository: Path) -> None:
    addresses = tuple(f"127.0.0.1:{port}" for port in free_ports(2))
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", TALK],
            env={**os.environ, "PYTHONPATH": str(repository), VARIABLE: config(Cluster(addresses, index))},
            stdout=subprocess.PIPE,
            text=True,
        )
        for index in (0, 1)
    ]
    told = [json.loads(worker.communicate(timeout=300)[0]) for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0]
    assert [found.pop("chief_first") for found in told] == [0, 1]
    assert [found.pop("refused") for found in told] == ["no such run", "the chief has ended: no such run"]
    assert (
        told[0]
        == told[1]
        == {
            "exchange": ["", "ä" * 40],
            "as_chief": [1.5, None, 0],
            "agree": [[3, False], [1, True]],
            "differ": "worker 1 and the chief differ in their data",
            "uneven": "data.batch_size is 9, expected a multiple of 2, the workers' devices",
            "even": None,
            "shared": [float(np.float32(0.1)), 2.0**40],
        }
    )


def test_a_strategy_that_does_not_fit_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_spec(tmp_path / "lonely.yaml", LONELY)
    monkeypatch.setenv(VARIABLE, config(TWO))
    ended = call(capfd, "train", "lonely.yaml")
    assert ended.code == 1 and ended.err.splitlines() == [
        "error: --workers or TF_CONFIG asks for several workers, but train.strategy is none",
        "  hint: add --set train.strategy=multi_worker, or leave out --workers and unset TF_CONFIG",
    ]
    monkeypatch.delenv(VARIABLE)
    ended = call(capfd, "train", "lonely.yaml", "--set", "train.strategy=multi_worker")
    assert ended.code == 1
    assert ended.err.startswith("error: train.strategy is multi_worker, but the environment variable TF_CONFIG is not")
    assert [path.name for path in tmp_path.iterdir()] == ["lonely.yaml"]


@pytest.mark.parametrize("number", ["0", "two"])
def test_a_number_of_workers(number: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        call(capfd, "train", "lonely.yaml", "--workers", number)
    assert caught.value.code == 2 and f"argument --workers: found '{number}', expected" in capfd.readouterr().err
