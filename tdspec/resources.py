"""Files that ship with tdspec: the schema and the example specs.

In: a name. Out: where the file lies, in the installed package or in a checkout.
Leaves out: reading specs (`spec/`).
"""

from __future__ import annotations

from pathlib import Path

from tdspec.errors import TdspecError

PACKAGE = Path(__file__).resolve().parent
REPOSITORY = PACKAGE.parent


def resource(name: str) -> Path:
    """Path of a file or folder that ships with tdspec.

    Args:
        name: path below the repository, such as "schemas/tdspec.schema.json".

    Raises:
        TdspecError: neither the installed package nor a checkout holds it.
    """
    for root in (PACKAGE / "_shared", REPOSITORY):
        if (root / name).exists():
            return root / name
    raise TdspecError(f"found no '{name}' beside tdspec, expected it to ship with the package", "install tdspec again")
