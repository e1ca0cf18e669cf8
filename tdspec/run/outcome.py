"""How a run ended, in its record.

In: a run folder, and what is raised while the run goes on. Out: the record's status, and what the caller is told.
Leaves out: a run that is killed, whose record stays at "running".
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import tensorflow as tf

from tdspec.data.images import read_error
from tdspec.errors import TdspecError
from tdspec.run.run_dir import RunFolder, update_record


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
        DataError: for an error of TensorFlow that comes from a file that cannot be read; any other is raised again.
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
        unreadable = read_error(error)
        update_record(run, status="failed", error=str(unreadable or error))
        raise (unreadable or error) from error
