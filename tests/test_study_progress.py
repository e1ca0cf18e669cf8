"""Progress of a study: lines in a pipe, a bar with what is left on a terminal."""

from __future__ import annotations

import io

from tdspec.study.progress import StudyProgress


class Terminal(io.StringIO):
    """A stream that says it is a terminal, as a pseudo-terminal's would."""

    def isatty(self) -> bool:
        return True


def test_a_pipe_gets_a_line_a_run_with_the_time_left() -> None:
    stream = io.StringIO()
    with StudyProgress(total=5, done=1, jobs=2, stream=stream) as progress:
        progress.say("5 runs, 1 complete")
        progress.ended("talking, seed 0  accuracy 0.9", 20.0)
        progress.ended("talking, seed 1  failed: no", 40.0)
        progress.ended("talking, seed 2  accuracy 0.9", 30.0)
        progress.ended("talking, seed 3  accuracy 0.9", 30.0)
    # 3, 2 and 1 runs are left, two at a time, each of the mean time so far
    assert stream.getvalue().splitlines() == [
        "5 runs, 1 complete",
        "2/5  talking, seed 0  accuracy 0.9  20 s  0:00:40 left",
        "3/5  talking, seed 1  failed: no  40 s  0:00:30 left",
        "4/5  talking, seed 2  accuracy 0.9  30 s  0:00:30 left",
        "5/5  talking, seed 3  accuracy 0.9  30 s",
    ]


def test_a_terminal_gets_a_bar_below_the_lines() -> None:
    stream = Terminal()
    with StudyProgress(total=2, done=0, jobs=1, stream=stream) as progress:
        progress.ended("talking, seed 0  [accuracy] 0.9", 20.0)
    assert "talking, seed 0  [accuracy] 0.9" in stream.getvalue()
    assert "1/2" in stream.getvalue()
    assert "0:00:20 left" in stream.getvalue()
