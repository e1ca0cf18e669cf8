"""Every row of a study beside one of them: python tests/benchmarks/against.py runs/studies/NAME talking

In: the folder of a study, and the method or variant of a row. Out: a Markdown table: by how much the named row is
better than each other, with its error, and the paired t-test over seeds, all comparisons counted (Holm).
Leaves out: choosing the row by its test figure: name it before you look.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from tdspec.study.statistics import holm, paired_p_value, relative_improvement


def named(row: dict[str, Any]) -> str:
    """What the study calls a row."""
    return ", ".join(str(value) for value in row["settings"].values())


def main() -> None:
    """Compare and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("study", type=Path)
    parser.add_argument("row")
    given = parser.parse_args()
    table = json.loads((given.study / "table.json").read_text("utf-8"))
    values = {named(row): dict(zip(row["seeds"], row["test"]["values"], strict=True)) for row in table["rows"]}
    own = values.pop(given.row)
    found = {}
    for name, other in values.items():
        pairs = [(own[seed], other[seed]) for seed in own if seed in other]
        ours, theirs = ([pair[index] for pair in pairs] for index in (0, 1))
        improvement = relative_improvement(ours, theirs, more_is_better=table["more_is_better"])
        found[name] = improvement, paired_p_value(ours, theirs)
    adjusted = holm([p for _, p in found.values()])
    print(f"| {given.row} against | better by | p (Holm) |\n|---|---|---|")
    for (name, (improvement, _)), p in zip(found.items(), adjusted, strict=True):
        error = "" if improvement.error is None else f" ± {100 * improvement.error:.1f} %"
        print(f"| {name} | {100 * improvement.value:+.1f} %{error} | {'' if p is None else f'{p:.3f}'} |")


if __name__ == "__main__":
    main()
