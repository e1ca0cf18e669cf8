"""How a run ended, in its record.

In: a run folder, and what is raised while the run goes on. Out: the record's status, and what the caller is told.
Leaves out: a run that is killed, whose record stays at "running".
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import tensorflow as tf

from tdspec.data.images import read_error
from tdspec.errors import RunError, TdspecError
from tdspec.run.run_dir import RunFolder, update_record

MEMORY_HINT = "a smaller data.batch_size needs less, and so do train.accumulate_steps: 4 and train.remat: iterations"


class Interrupted(KeyboardInterrupt):
    """A run was stopped from outside, and can be resumed.

    Args:
        run: which one; while a control or a teacher is trained, it is theirs.
    """

    def __init__(self, run: RunFolder):
        super().__init__(str(run.path))
        self.run = run


@contextlib.contextmanager
def recorded(run: RunFolder) -> Iterator[None]:
    """Record that what is done within was stopped, or failed and why.

    Raises:
        Interrupted: for a KeyboardInterrupt.
        DataError: for an error of TensorFlow that comes from a file that cannot be read.
        RunError: for one that says that memory is short; any other is raised again.
    """
    try:
        yield
    except KeyboardInterrupt as stop:
        update_record(run, status="interrupted")
        raise Interrupted(run) from stop
    except TdspecError as error:
        update_record(run, status="failed", error=error.message)
        raise
    except tf.errors.OpError as error:
        explained = read_error(error) or _short_of_memory(error)
        update_record(run, status="failed", error=str(explained or error))
        raise (explained or error) from error


def _short_of_memory(error: tf.errors.OpError) -> RunError | None:
    if not isinstance(error, tf.errors.ResourceExhaustedError):
        return None
    reason = error.message.splitlines()[0]
    return RunError(f"there is too little memory: {reason}", MEMORY_HINT)
