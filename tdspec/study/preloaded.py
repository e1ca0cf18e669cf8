"""What the process has imported that trainings are forked from: the seconds that takes are spent once for all of them.

In: nothing. Out: `tdspec train` imported, whose modules are named and not imported from here, as one starts a program.
Leaves out: using any of it. TensorFlow has started no thread and touched no device when it has only been imported, so
that a fork of this process is as good as a new one; each training starts its own.
"""

from __future__ import annotations

import contextlib
import gc
import importlib

from tdspec.errors import TdspecError

# Each training will say by itself what is not installed.
with contextlib.suppress(TdspecError, ImportError):
    importlib.import_module("tdspec.commands")
# What is here to stay needs no look by the garbage collection of each training, which would also copy its memory.
gc.collect()
gc.freeze()
