"""Where a component's refusal belongs in a spec.

In: a GraphError. Out: a SpecError at the place of a key. Leaves out: which key it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tdspec.errors import GraphError
from tdspec.spec.load import Document


@contextmanager
def placed(document: Document, key: str) -> Iterator[None]:
    """Turn a component's refusal into an error at the place of a key."""
    try:
        yield
    except GraphError as error:
        raise document.error(key, error.message, error.hint) from error
