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


def compile(spec: str | os.PathLike[str], overrides: tuple[str, ...] = ()) -> Distiller:
    """Compile a spec into a Keras model that distils when it is fitted.

    Args:
        spec: path of the YAML file.
        overrides: "key.path=value" texts, such as "method=logit".

    Returns:
        A compiled `Distiller` with fresh weights drawn by the spec's seed. Its teacher's weights are fresh too:
        `tdspec.run.train.prepare` loads them, and is what `tdspec train` uses.

    Raises:
        SpecError: the spec is wrong; holds every problem with its place.
    """
    from tdspec.run.prepare import prepared_distiller

    return prepared_distiller(spec, overrides)
