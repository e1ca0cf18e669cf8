"""TensorFlow starts with the project's settings, keeps its memory, uses oneDNN, and a user's own settings stay."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest
from run_support import ENVIRONMENT

from tdspec.starting import SETTINGS, make_settings

KEEPS_MEMORY, USES_ONEDNN = "TF_CPU_ALLOCATOR_USE_BFC", "TF_ENABLE_ONEDNN_OPTS"
# Prints how many pages the system hands out while 64 MB are asked for, filled and given back, again and again.
PAGES = """
from tdspec.starting import start_tensorflow
start_tensorflow()
import resource
import tensorflow as tf
values = tf.ones((16, 2**20))
for rounds in (2, 10):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(rounds):
        tf.exp(values)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""

# Prints what TensorFlow says of itself.
ONEDNN = """
from tdspec.starting import start_tensorflow
start_tensorflow()
from tensorflow.python.util import _pywrap_util_port
print(_pywrap_util_port.IsMklEnabled())
"""


def run(code: str, **environment: str) -> str:
    """What a Python without the settings of these tests prints."""
    own = {name: value for name, value in ENVIRONMENT.items() if name not in SETTINGS}
    done = subprocess.run(
        [sys.executable, "-c", code], env={**own, **environment}, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.fixture(scope="module")
def returned() -> int:
    """The pages where TensorFlow gives memory back."""
    return int(run(PAGES, **{USES_ONEDNN: "0", KEEPS_MEMORY: "false"}))


@pytest.mark.parametrize("own", [{}, {USES_ONEDNN: "0"}, {KEEPS_MEMORY: "false"}])
def test_a_step_is_given_no_new_pages(own: dict[str, str], returned: int) -> None:
    assert int(run(PAGES, **own)) < returned / 4


@pytest.mark.skipif(platform.machine() != "x86_64", reason="TensorFlow has oneDNN on x86")
def test_onednn_is_on_unless_the_user_says_no() -> None:
    assert (run(ONEDNN), run(ONEDNN, **{USES_ONEDNN: "0"})) == ("True", "False")


@pytest.mark.parametrize("name", SETTINGS)
def test_a_setting_is_made_unless_the_user_made_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "own")
    make_settings()
    assert os.environ[name] == "own"
    monkeypatch.delenv(name)
    make_settings()
    assert os.environ[name] == SETTINGS[name]
