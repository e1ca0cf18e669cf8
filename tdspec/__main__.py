"""`python -m tdspec`.

In: the words of the call. Out: what the command line does.
Leaves out: everything else (`cli.py`).
"""

from __future__ import annotations

from tdspec.cli import run

if __name__ == "__main__":
    run()
