"""A few vectors that stand for many, against a search that computes every gain anew."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from training.medoids import medoids


def vectors(count: int, seed: int) -> NDArray[np.float32]:
    """Vectors of unit length in a few heaps."""
    random = np.random.default_rng(seed)
    values = random.normal(size=(1 + count // 8, 5))[random.integers(0, 1 + count // 8, count)]
    values += random.normal(0, 0.3, values.shape)
    at_unit_length: NDArray[np.float32] = (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)
    return at_unit_length


def covering(points: NDArray[np.float32], chosen: list[int]) -> float:
    """The sum of everyone's cosine to the nearest one chosen, by SciPy in float64."""
    return float((1 - cdist(points, points[chosen], "cosine")).max(axis=1).sum())


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 60), st.integers(1, 12), st.integers(0, 1000))
def test_each_step_adds_the_most(count: int, few: int, seed: int) -> None:
    """As far as a search that tries every vector at every step, so that no gain that was kept misleads."""
    points = vectors(count, seed)
    chosen: list[int] = []
    for _ in range(min(few, count)):
        left = [place for place in range(count) if place not in chosen]
        chosen.append(max(left, key=lambda place: covering(points, [*chosen, place])))
    found = medoids(points, few).tolist()
    assert found == sorted(set(found)) and len(found) == min(few, count)
    assert covering(points, found) == pytest.approx(covering(points, chosen), abs=1e-4)


def test_it_comes_near_the_best_choice() -> None:
    """Of all choices of three among sixteen, what the cosines exceed −1 by is within 1 − 1/e of the best."""
    for seed in range(5):
        points = vectors(16, seed)
        best = max(covering(points, list(some)) for some in itertools.combinations(range(16), 3)) + 16
        assert covering(points, medoids(points, 3).tolist()) + 16 >= (1 - 1 / np.e) * best
