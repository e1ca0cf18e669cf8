"""Signals: what they become, when they arrive, and that nothing of it stays."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest

from tdspec.run.signals import STOPPING, postponed_signals, stop_on_signals


def send(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)
    time.sleep(0)


def handlers() -> list[object]:
    return [signal.getsignal(number) for number in STOPPING]


class Dying:
    """Gets a signal in its destructor, where Python ignores what a handler raises."""

    def __init__(self, number: signal.Signals):
        self.number = number

    def __del__(self) -> None:
        send(self.number)


def test_sigterm_becomes_a_keyboard_interrupt() -> None:
    former = handlers()
    with pytest.raises(KeyboardInterrupt, match="SIGTERM"), stop_on_signals():
        send(signal.SIGTERM)
    assert handlers() == former


@pytest.mark.parametrize("number", STOPPING)
def test_a_held_signal_is_never_lost(number: signal.Signals) -> None:
    former = handlers()
    reached = []
    with stop_on_signals():
        with pytest.raises(KeyboardInterrupt), postponed_signals() as deliver:
            Dying(number)
            reached.append("held")
            deliver()
            reached.append("too far")
        with pytest.raises(KeyboardInterrupt), postponed_signals():
            send(number)
            reached.append("end of block")
    assert reached == ["held", "end of block"]
    assert handlers() == former


def test_a_second_signal_is_not_held() -> None:
    reached = []
    with pytest.raises(KeyboardInterrupt), postponed_signals():
        send(signal.SIGINT)
        reached.append("held")
        send(signal.SIGINT)
        reached.append("too far")
    assert reached == ["held"]


def test_the_systems_own_handler_is_left_alone() -> None:
    former = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with postponed_signals():
            assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, former)


def test_an_error_wins_over_a_held_signal() -> None:
    with pytest.raises(ValueError, match="why"), postponed_signals():
        send(signal.SIGINT)
        raise ValueError("why")


def test_other_threads_change_nothing() -> None:
    seen: list[list[object]] = []

    def work() -> None:
        with stop_on_signals(), postponed_signals() as deliver:
            deliver()
            seen.append(handlers())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [handlers()]
