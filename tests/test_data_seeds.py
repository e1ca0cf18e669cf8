from __future__ import annotations

import numpy as np

from tdspec.data.seeds import PURPOSES, generator


def test_streams_are_equal_for_equal_keys_and_differ_otherwise() -> None:
    drawn = {
        (purpose, key): generator(purpose, 7, key).integers(2**31, size=4) for purpose in PURPOSES for key in range(3)
    }
    assert np.array_equal(drawn["order", 1], generator("order", 7, 1).integers(2**31, size=4))
    assert len({values.tobytes() for values in drawn.values()}) == len(drawn)
