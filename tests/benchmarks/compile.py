"""What compiling ViT-L/32 to ViT-B/32 costs: python tests/benchmarks/compile.py

In: specs/vit_imagenet.yaml with larger models. Out: one line of JSON: seconds and peak memory of the whole command, and
the parameters it built without allocating them.
Leaves out: the judgement. Seconds depend on the machine and on what else it does; tests assert facts.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SPEC = Path(__file__).resolve().parents[2] / "specs" / "vit_imagenet.yaml"
LARGE = "{num_layers: 24, num_heads: 16, hidden_dim: 1024, mlp_dim: 4096, patch_size: 32}"
BASE = "{num_layers: 12, num_heads: 12, hidden_dim: 768, mlp_dim: 3072, patch_size: 32}"


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as name:
        spec, out = Path(name) / "large.yaml", Path(name) / "out"
        teacher, student = SPEC.read_text().split("student:")
        teacher = teacher.replace(BASE, LARGE).replace("cut: {low: 4, high: 12}", "cut: {low: 8, high: 24}")
        student = student.replace("num_layers: 4", "num_layers: 12").replace("high: 4}", "high: 12}")
        spec.write_text(f"{teacher}student:{student}")
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "tdspec", "compile", str(spec), "-o", str(out)], cwd=name, check=True)
        seconds = time.perf_counter() - start
        plan = json.loads((out / "plan.json").read_text())
    megabytes = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    parameters = {side: plan[side]["parameters"] for side in ("teacher", "student")}
    print(json.dumps({"seconds": round(seconds, 2), "peak megabytes": round(megabytes), "parameters": parameters}))


if __name__ == "__main__":
    main()
