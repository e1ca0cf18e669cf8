"""How TensorFlow is started: without printing what no user needs to read, and so that it is fast on CPUs.

In: nothing. Out: TensorFlow, Keras and keras-hub imported, with nothing printed.
Leaves out: errors of the import, which are Python exceptions and pass; whatever is printed later.
"""

from __future__ import annotations

import importlib
import logging as stdlib_logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from absl import logging

from tdspec.errors import TdspecError

# What a user has set already stays. On processors with AVX2 and no more TensorFlow leaves oneDNN off, with which
# convolutions take half the time. Without it, it gives large tensors back to the system and asks for them again in
# every step, which hands out each page anew: a fifth to a quarter of the time. Its other allocator keeps them, by
# itself up to 64 GB; the limit here is beyond any machine's memory (both: tests/benchmarks/settings.py).
SETTINGS = {
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "KERAS_BACKEND": "tensorflow",
    "GRPC_VERBOSITY": "ERROR",
    "TF_CPU_ALLOCATOR_USE_BFC": "true",
    "TF_CPU_BFC_MEM_LIMIT_IN_MB": str(2**24),
    "TF_ENABLE_ONEDNN_OPTS": "1",
}
NOISY = ("tensorflow", "keras", "keras_hub")


def make_settings() -> None:
    """Set the environment variables that the user has not set; before TensorFlow is imported."""
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)


def start_tensorflow() -> None:
    """Make the settings, and import the noisy libraries with the process's stderr closed off.

    Raises:
        TdspecError: they are not installed.
    """
    make_settings()
    logging.set_verbosity(logging.ERROR)
    with _no_stderr():
        for module in NOISY:
            _import(module)
    # Its warnings are about how it is programmed, which is no news for a user.
    stdlib_logging.getLogger("tensorflow").setLevel(stdlib_logging.ERROR)


def _import(module: str) -> None:
    try:
        importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise missing_package(error) from error


def missing_package(error: ModuleNotFoundError) -> TdspecError:
    """What to tell a user whose installation lacks what a command imports."""
    message = f"this command needs the package '{error.name}', which is not installed"
    return TdspecError(message, "pip install 'tdspec[train]'")


@contextmanager
def _no_stderr() -> Iterator[None]:
    """Send file descriptor 2 to nowhere: the messages come from C++, below `sys.stderr`."""
    sys.stderr.flush()
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
