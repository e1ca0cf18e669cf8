"""tdspec: a YAML spec becomes a knowledge-distillation graph on Keras 3 and TensorFlow.

`import tdspec` loads neither: `tdspec.compile` does, when it is called.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tdspec.graph.distiller import Distiller

__all__ = ["__version__", "compile"]
__version__ = "0.1.0"


def compile(
    spec: str | os.PathLike[str],
    overrides: tuple[str, ...] = (),
    *,
    runs: str | os.PathLike[str] = "runs",
    total_steps: int | None = None,
) -> Distiller:
    """Compile a spec into a Keras model that distils when it is fitted.

    Weights are loaded where that needs neither the network nor a training run: files, presets that were fetched, the
    trained students of other specs. A side that keeps fresh weights, drawn by the spec's seed, is warned about.

    Args:
        spec: path of the YAML file.
        overrides: "key.path=value" texts, such as "method=logit".
        runs: the folder of all runs, where the trained students of other specs are.
        total_steps: how many steps `fit` will run, over which learning rate and weights follow their schedules; None:
            not known, and the learning rate is constant.

    Returns:
        A compiled `Distiller`.

    Raises:
        SpecError: the spec is wrong; holds every problem with its place.
        ValueError: the weight of a term has a schedule, and `total_steps` is None.
    """
    from pathlib import Path

    from tdspec.run.prepare import prepared_distiller

    return prepared_distiller(spec, overrides, Path(runs), total_steps)
