"""Why a library refused, in one line.

In: an exception of Keras, keras-hub, h5py or safetensors. Out: what went wrong.
Leaves out: the library's advice, which may be to switch its safety off.
"""

from __future__ import annotations

import re

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
# What only announces the reason: Keras's layers say it in the next line, model.load_weights after its list.
_ANNOUNCED = re.compile(r":$|^Exception encountered when calling ")


def first_sentence(error: Exception) -> str:
    """What went wrong, as a sentence without its full stop."""
    text = _COLOURS.sub("", str(error.args[0] if error.args else error))
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    reason = lines[1] if _ANNOUNCED.search(lines[0]) and len(lines) > 1 else lines[0]
    # which shapes do not match is in the next sentence; a variable's numbers may follow
    reason = reason.replace("must match. ", "must match: ")
    return reason.partition(", value=[")[0].partition(". ")[0].rstrip(".")
