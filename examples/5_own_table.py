"""Your own table: columns of ids and numbers, split by time.

python examples/5_own_table.py
"""

from __future__ import annotations

import csv
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

SIDE = """
  backbone:
    mlp:
      features:
        shop: {{type: id, size: 20, dim: {dim}}}
        tags: {{type: ids, size: 5, dim: {dim}}}
        price: {{type: number, mean: 10, std: 5}}
      units: {units}
"""
DATA = """
data:
  source: csv
  path: sales.csv
  splits: {by: day, train: 0.8, validation: 0.1, test: 0.1}
  batch_size: 64
task: {type: regression, label: sold}
train: {epochs: 4}
"""
TEACHER = f"version: 1\nname: own_table_teacher\nmethod: scratch\n{DATA}student:{SIDE.format(dim=8, units=[64, 32])}"
STUDENT = f"""version: 1
name: own_table
{DATA}teacher:
  backbone: {{spec: teacher.yaml}}
  cut: {{low: 1, high: 2}}
student:{SIDE.format(dim=2, units=[8, 4])}  cut: {{low: 1, high: 2}}
"""


def main() -> None:
    """Write a table and two specs, and call tdspec; the teacher is trained first."""
    folder, random = Path(tempfile.mkdtemp()), np.random.default_rng(0)
    with open(folder / "sales.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["day", "shop", "tags", "price", "sold"])
        for day in range(2000):
            shop, price = int(random.integers(20)), float(random.normal(10, 5))
            tags = random.choice(5, 2, replace=False)
            writer.writerow([day, shop, "|".join(map(str, tags)), price, shop / 4 - price / 10 + tags.sum()])
    (folder / "teacher.yaml").write_text(TEACHER)
    (folder / "student.yaml").write_text(STUDENT)
    subprocess.run([sys.executable, "-m", "tdspec", "train", "student.yaml"], cwd=folder, check=True)


if __name__ == "__main__":
    main()
