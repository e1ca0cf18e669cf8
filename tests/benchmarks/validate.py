"""How long `tdspec validate` takes for one spec and for a thousand: python tests/benchmarks/validate.py

In: nothing. Out: one line of JSON with seconds of whole commands, the best of several.
Leaves out: the judgement. Seconds depend on the machine and on what else it does; tests assert facts.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SPECS = Path(__file__).resolve().parents[2] / "specs"
NUM_SPECS = 1000


def seconds(*specs: str, folder: Path, repeats: int) -> float:
    """The quickest of some calls of the command, seconds."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call = [sys.executable, "-m", "tdspec", "validate", *specs]
        subprocess.run(call, cwd=folder, check=True, capture_output=True)
        times.append(time.perf_counter() - start)
    return round(min(times), 3)


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for spec in SPECS.glob("digits*.yaml"):
            shutil.copy(spec, folder)
        names = [f"s{index}.yaml" for index in range(NUM_SPECS)]
        for copy in names:
            shutil.copy(SPECS / "digits.yaml", folder / copy)
        one = seconds(names[0], folder=folder, repeats=5)
        many = seconds(*names, folder=folder, repeats=2)
    print(json.dumps({"one spec": one, f"{NUM_SPECS} specs": many}))


if __name__ == "__main__":
    main()
