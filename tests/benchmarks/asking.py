"""Processes that are asked to measure, one at a time: each reads lines and writes one line of JSON to each.

In: a command. Out: a process, and what it answers. Needs no package, so that Pythons without tdspec can read it.
Leaves out: what is measured.
"""

from __future__ import annotations

import json
import os
import subprocess
from typing import Any


def process_of(*command: str, **environment: str) -> Any:
    """A process that answers, with these environment variables besides."""
    pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, env={**os.environ, **environment}, **pipes)


def answer(process: Any, question: object = "") -> Any:
    """What a process answers now."""
    print(question, file=process.stdin, flush=True)
    return json.loads(process.stdout.readline())
