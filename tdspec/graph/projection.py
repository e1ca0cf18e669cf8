"""A projection with orthonormal rows or columns, which can neither stretch nor collapse what it maps (VkD).

In: states (..., dim). Out: states (..., units).
Leaves out: what the result is compared with (`terms.py`).
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="tdspec")
class OrthogonalProjection(keras.layers.Layer):
    """x P with P P^T = I, or P^T P = I where it narrows (Miles 2024, arXiv 2403.06213, section 3.1).

    P is the orthogonal factor of a free matrix, so that every step stays on the manifold; the paper takes the
    exponential of a skew-symmetric one, which reaches the same projections.

    Args:
        units: width of the result.
    """

    def __init__(self, units: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.units = units

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        dim = int(input_shape[-1] or 0)
        self.kernel = self.add_weight(
            shape=(max(dim, self.units), min(dim, self.units)), initializer="orthogonal", name="kernel"
        )
        self.widens = dim < self.units

    def matrix(self) -> Any:
        """P, float32 (dim, units)."""
        orthonormal, _ = ops.qr(ops.cast(self.kernel, "float32"))
        return ops.transpose(orthonormal) if self.widens else orthonormal

    def call(self, state: Any) -> Any:
        return ops.matmul(ops.cast(state, "float32"), self.matrix())

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return (*input_shape[:-1], self.units)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "units": self.units}
