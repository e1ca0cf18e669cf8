"""What the benchmarks run in: TensorFlow with the settings of the command line, on CPUs alone.

In: nothing. Out: environment variables, set when this is imported, which must be before TensorFlow is.
Leaves out: a variable that is set already.
"""

from __future__ import annotations

import os

from tdspec.starting import make_settings

make_settings()
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
