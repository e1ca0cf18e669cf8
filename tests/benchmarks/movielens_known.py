"""Students beside their teacher on ratings by users that the students know, and by others.

    python tests/benchmarks/movielens_known.py TEACHER RUN...

In: run folders (one of `runs/movielens_users_teacher/`, and those of a study) whose data are ratings. Out: one line of
JSON: the test RMSE of teacher and students, pooled over the runs, for users with a rating in a student's training split
and for those without one, and the share of the latter. What is wrong for users without one no word of a teacher about
the training ratings can mend.
"""

from __future__ import annotations

import environment  # noqa: F401

# isort: split

import json
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
from movielens_bias import column

from tdspec.run.prepare import compile_without_weights, open_data
from tdspec.spec.load import load


def of_run(run: Path, teacher: Any) -> dict[str, np.ndarray]:
    """By "teacher" and "student" the squared errors on a run's test split, and who rated before ("known")."""
    splits = open_data(compile_without_weights(load(str(run / "spec.yaml"))), download=True)
    labels = np.asarray(splits.test.labels, "float64").reshape(-1)
    student = keras.models.load_model(run / "student.keras")
    columns = {tensor.name: np.asarray(splits.test.examples.features[tensor.name]) for tensor in student.inputs}
    columns = {name: values[splits.test.places] for name, values in columns.items()}
    known = np.isin(column(splits.test, "user_id"), column(splits.train, "user_id"))
    models = {"teacher": teacher, "student": student}
    found = {name: model.predict(columns, batch_size=256, verbose=0).reshape(-1) for name, model in models.items()}
    return {"known": known, **{name: np.square(predictions - labels) for name, predictions in found.items()}}


def main() -> None:
    """Predict, and print."""
    teacher = keras.models.load_model(Path(sys.argv[1]) / "student.keras")
    runs = [of_run(Path(run), teacher) for run in sys.argv[2:]]
    pooled = {name: np.concatenate([run[name] for run in runs]) for name in runs[0]}
    known = pooled.pop("known")
    figures = {
        f"{name}, {who} users": float(np.sqrt(errors[chosen].mean()))
        for name, errors in pooled.items()
        for who, chosen in (("known", known), ("other", ~known))
    }
    print(json.dumps({"share of others": round(1 - known.mean(), 4), **{k: round(v, 4) for k, v in figures.items()}}))


if __name__ == "__main__":
    main()
