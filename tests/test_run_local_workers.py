"""Several workers on this machine: their cluster, the exit code, and that none is left behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tdspec.run import local_workers
from tdspec.run.local_workers import free_ports, train_locally

PLACE = "import os, sys, time, pathlib; from tdspec.run.cluster import read_cluster; here = read_cluster(os.environ)\n"


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch, repository: Path) -> None:
    """Workers run the code that they are given, in place of a training."""
    monkeypatch.setattr(local_workers, "TRAIN", (sys.executable, "-c"))
    monkeypatch.setattr(local_workers, "SECONDS_TO_NOTICE", 2.0)
    monkeypatch.setenv("PYTHONPATH", str(repository))


def test_ports_are_free_and_different() -> None:
    ports = free_ports(5)
    assert len(set(ports)) == 5
    for port in ports:
        with socket.socket() as one:
            one.bind(("127.0.0.1", port))


@pytest.mark.usefixtures("program")
def test_each_worker_has_its_place_and_the_chief_is_heard(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code = (
        f"{PLACE}pathlib.Path(sys.argv[1], str(here.index)).write_text(' '.join(here.addresses))\n"
        "print('I am', here.index); print('note', here.index, file=sys.stderr)"
    )
    assert train_locally([code, str(tmp_path)], 3) == 0
    assert capfd.readouterr() == ("I am 0\n", "note 0\n")
    found = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert set(found) == {"0", "1", "2"} and len(set(found.values())) == 1
    assert len(set(found["0"].split())) == 3 and found["0"].startswith("127.0.0.1:")


@pytest.mark.usefixtures("program")
@pytest.mark.parametrize(("index", "how", "expected"), [(0, "sys.exit(7)", 7), (1, "os.kill(os.getpid(), 9)", 137)])
def test_one_that_fails_ends_all(
    index: int, how: str, expected: int, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    code = (
        f"{PLACE}pathlib.Path(sys.argv[1], str(here.index)).write_text(str(os.getpid()))\n"
        f"print('last words', file=sys.stderr, flush=True)\nif here.index == {index}: {how}\ntime.sleep(60)"
    )
    start = time.monotonic()
    assert train_locally([code, str(tmp_path)], 2) == expected
    assert time.monotonic() - start < 30
    err = capfd.readouterr().err
    if index:
        assert "worker 1 was killed by signal 9; its output:\n  last words\n" in err
    else:
        assert err == "last words\n"
    for path in tmp_path.iterdir():
        with pytest.raises(ProcessLookupError):
            os.kill(int(path.read_text()), 0)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_reaches_every_worker(number: signal.Signals, repository: Path, tmp_path: Path) -> None:
    worker = (
        f"{PLACE}import signal\nfile = pathlib.Path(sys.argv[1], str(here.index))\n"
        "def stop(number, frame):\n    file.write_text(str(number))\n    sys.exit(1)\n"
        "signal.signal(signal.SIGINT, stop)\nsignal.signal(signal.SIGTERM, stop)\n"
        "file.write_text('ready')\ntime.sleep(60)"
    )
    launcher = (
        "import sys\nfrom tdspec.run import local_workers as local\nlocal.TRAIN = (sys.executable, '-c')\n"
        "sys.exit(local.train_locally(sys.argv[1:], 2))"
    )
    files = [tmp_path / "0", tmp_path / "1"]
    call = [sys.executable, "-c", launcher, worker, str(tmp_path)]
    with subprocess.Popen(call, env={**os.environ, "PYTHONPATH": str(repository)}) as process:
        while not all(file.is_file() and file.read_text() == "ready" for file in files):
            time.sleep(0.05)
        process.send_signal(number)
        assert process.wait(timeout=30) == 1
    assert [file.read_text() for file in files] == [str(int(number))] * 2
