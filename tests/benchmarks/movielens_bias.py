"""What counting gives on MovieLens 100K, for comparison with what is trained: tests/benchmarks/movielens_bias.py

    python tests/benchmarks/movielens_bias.py [SPEC]

In: a spec of ratings (specs/movielens_drama.yaml). Out: one line of JSON: the test RMSE of the mean, of a bias of each
film and user shrunk towards 0, and the share of test ratings by users without one in training.
Biases are sums of residuals over (count + strength), films first; the strengths are chosen on validation.
"""

from __future__ import annotations

import environment  # noqa: F401

# isort: split

import itertools
import json
import sys
from pathlib import Path

import numpy as np

from tdspec.data.split import Split
from tdspec.run.prepare import compile_without_weights, open_data
from tdspec.spec.load import load

SPEC = Path(__file__).resolve().parents[2] / "specs" / "movielens_drama.yaml"
STRENGTHS = (1, 3, 10, 30, 100)


def column(split: Split, name: str) -> np.ndarray:
    """A column of a split's examples."""
    return np.asarray(split.examples.features[name])[split.places].reshape(-1)


def shrunk(residuals: np.ndarray, ids: np.ndarray, size: int, strength: float) -> np.ndarray:
    """(size,): by id, the sum of its residuals over their count and a strength; 0 where there is none."""
    return np.bincount(ids, residuals, size) / (np.bincount(ids, minlength=size) + strength)


def main() -> None:
    """Count, and print."""
    splits = open_data(compile_without_weights(load(sys.argv[1] if len(sys.argv) > 1 else str(SPEC))), download=True)
    parts = {name: getattr(splits, name) for name in ("train", "validation", "test")}
    label = {name: np.asarray(part.labels, "float64").reshape(-1) for name, part in parts.items()}
    film, user = ({name: column(part, key) for name, part in parts.items()} for key in ("movie_id", "user_id"))
    films, users = (1 + max(ids.max() for ids in side.values()) for side in (film, user))
    mean = label["train"].mean()

    def rmse(part: str, by_film: float, by_user: float) -> float:
        rest = label["train"] - mean
        film_bias = shrunk(rest, film["train"], films, by_film)
        user_bias = shrunk(rest - film_bias[film["train"]], user["train"], users, by_user)
        found = mean + film_bias[film[part]] + user_bias[user[part]]
        return float(np.sqrt(np.mean(np.square(found - label[part]))))

    best = min(itertools.product(STRENGTHS, repeat=2), key=lambda pair: rmse("validation", *pair))
    known = np.isin(user["test"], user["train"]).mean()
    figures = {"mean": rmse("test", np.inf, np.inf), "biases": rmse("test", *best), "by unknown users": 1 - known}
    print(json.dumps({"test ratings": len(label["test"]), **{key: round(value, 4) for key, value in figures.items()}}))


if __name__ == "__main__":
    main()
