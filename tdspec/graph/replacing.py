"""A function of a library replaced for a while, where it offers no other place to say what is wanted.

In: what has the function, its public name, another function. Out: a context.
Leaves out: why; each caller says that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def replaced(owner: Any, name: str, function: Callable[..., Any]) -> Iterator[None]:
    """While the context lasts, and not after it however it ends, `owner.name` is another function."""
    original = getattr(owner, name)
    setattr(owner, name, function)
    try:
        yield
    finally:
        setattr(owner, name, original)
