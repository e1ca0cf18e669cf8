"""Progress: plain lines in a pipe, a bar on a terminal, and the terminal given back."""

from __future__ import annotations

import concurrent.futures
import contextlib
import io
import os
import re
import time
from typing import TextIO

import keras
import pytest
import tensorflow as tf

from tdspec.run.progress import Progress, format_metrics, format_time

LOGS = {"loss": 1.23456, "message_consistency": 0.00012345}


def run(stream: TextIO, *, seconds_between_lines: float, break_off: bool = False) -> None:
    """Two epochs of four steps, two steps a call, as the loop drives them."""
    progress = Progress(
        epochs=2, steps_per_epoch=4, batch_size=10, stream=stream, seconds_between_lines=seconds_between_lines
    )
    with progress:
        driver = keras.callbacks.CallbackList([progress], epochs=2)
        driver.on_train_begin()
        for epoch in range(2):
            driver.on_epoch_begin(epoch)
            for step in (1, 3):
                time.sleep(0.02)
                driver.on_train_batch_end(step, LOGS)
            if break_off:
                raise KeyboardInterrupt
            driver.on_test_begin()
            time.sleep(0.02)
            driver.on_test_end({})
            driver.on_epoch_end(epoch, LOGS | {"val_task": 0.5})
        driver.on_train_end()


def test_a_pipe_gets_a_line_an_epoch() -> None:
    stream = io.StringIO()
    run(stream, seconds_between_lines=30.0)
    lines = stream.getvalue().splitlines()
    metrics = r"loss 1\.235  message_consistency 0\.0001234  val_task 0\.5"
    for number, line in enumerate(lines, start=1):
        match = re.fullmatch(rf"epoch {number}/2  \d+\.\d s  ([\d,]+) examples/s  \d+ s left  {metrics}", line)
        assert match is not None, line
        # Two steps of 10 examples in 0.02 s; a busy machine may be slower, none is faster.
        assert 0 < int(match.group(1).replace(",", "")) <= 1001
    assert len(lines) == 2
    assert stream.getvalue().isprintable() is False and stream.getvalue().replace("\n", "").isprintable()


def test_a_pipe_gets_lines_within_a_long_epoch() -> None:
    stream = io.StringIO()
    run(stream, seconds_between_lines=0.0)
    lines = stream.getvalue().splitlines()
    assert lines[0] == "epoch 1/2  step 2/4  -- examples/s  loss 1.235  message_consistency 0.0001234"
    assert [line[:19] for line in lines if "step" in line] == [
        f"epoch {e}/2  step {s}/4" for e in (1, 2) for s in (2, 4)
    ]


def read_all(reader: int) -> str:
    """What was written to a terminal until its other side was closed, which Linux reports as an error."""
    chunks = []
    with contextlib.suppress(OSError):
        while chunk := os.read(reader, 65536):
            chunks.append(chunk)
    os.close(reader)
    return b"".join(chunks).decode()


@pytest.mark.parametrize("break_off", [False, True])
def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch, break_off: bool) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "150")
    reader, writer = os.openpty()
    with concurrent.futures.ThreadPoolExecutor() as executor, os.fdopen(writer, "w") as stream:
        received = executor.submit(read_all, reader)
        if break_off:
            with pytest.raises(KeyboardInterrupt):
                run(stream, seconds_between_lines=0.0, break_off=True)
        else:
            run(stream, seconds_between_lines=0.0)
        stream.close()
        output = received.result()
    seen = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", output)
    assert "epoch 1/2  step 2/4" in seen
    assert "━" in seen
    assert "loss 1.235  message_consistency 0.0001234" in seen
    # The cursor is hidden while the bar lives, and shown again at the end.
    assert output.count("\x1b[?25l") == 1
    assert output.rindex("\x1b[?25h") > output.rindex("step")
    if not break_off:
        assert "validation" in seen
        assert re.search(r"epoch 2/2  \d+\.\d s  [\d,]+ examples/s  \d+ s left .* val_task 0\.5", seen)


def test_time_left_counts_validation() -> None:
    stream = io.StringIO()
    progress = Progress(epochs=11, steps_per_epoch=2, batch_size=1, stream=stream)
    progress.on_train_begin()
    progress.on_epoch_begin(0)
    progress.on_train_batch_end(0, {})
    time.sleep(0.1)
    progress.on_train_batch_end(1, {})
    time.sleep(0.5)
    progress.on_epoch_end(0, {})
    match = re.search(r"(\d+) examples/s  (\d+) s left", stream.getvalue())
    assert match is not None
    # One step took 0.1 s, but 0.6 s with the validation; 20 steps are left.
    assert 0 < int(match.group(1)) <= 10
    assert int(match.group(2)) >= 12


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59.6, "1:00 min"), (125, "2:05 min"), (3725, "1:02:05 h"), (360000, "100:00:00 h")],
)
def test_times(seconds: float, text: str) -> None:
    assert format_time(seconds) == text


def test_metrics_keep_their_order_and_four_digits() -> None:
    assert format_metrics({"b": 12345.678, "a": 0.5}) == "b 1.235e+04  a 0.5"


def test_keras_fit_can_use_it() -> None:
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    stream = io.StringIO()
    progress = Progress(epochs=2, steps_per_epoch=3, batch_size=4, stream=stream)
    model.fit(tf.zeros((12, 2)), tf.zeros((12, 1)), batch_size=4, epochs=2, verbose=0, callbacks=[progress])
    assert [line[:9] for line in stream.getvalue().splitlines()] == ["epoch 1/2", "epoch 2/2"]
