"""Every test sees two logical CPU devices, so that replicas are tested all the time, and no network is needed."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from run_support import trained as trained

from tdspec.starting import make_settings

make_settings()
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

REPOSITORY = Path(__file__).resolve().parent.parent


def pytest_configure(config: pytest.Config) -> None:
    """Split the CPU before anything touches TensorFlow; without it only the spec's tests can run."""
    # A shell's background job ignores Ctrl-C, and so would every process the tests start.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        import tensorflow as tf
    except ModuleNotFoundError:
        return
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)


@pytest.fixture(scope="session")
def repository() -> Path:
    """The checkout."""
    return REPOSITORY


@pytest.fixture(scope="session")
def shared_folder() -> Path:
    """Real data and weights that are not part of the project; the test is skipped where they are absent."""
    folder = Path(os.environ.get("TDSPEC_SHARED", REPOSITORY.parent / "shared"))
    if not (folder / "data").is_dir():
        pytest.skip("needs the shared data folder (set TDSPEC_SHARED)")
    return folder
