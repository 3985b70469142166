"""The look at a fuzzer's memory: it sees what is kept, and nothing in what is let go."""

import ctypes
from collections.abc import Callable

import pytest

from tests.hostile.growth import Watched

_KEPT = 10_000  # bytes an input: 4 MB from the first look to the fifth


def _keep_in_python(kept: list[object]) -> None:
    kept.append(bytearray(b"x" * _KEPT))


def _keep_in_c(kept: list[object]) -> None:
    allocate = ctypes.CDLL(None).malloc
    allocate.restype = ctypes.c_void_p
    place = allocate(ctypes.c_size_t(_KEPT))
    ctypes.memset(place, 1, _KEPT)
    kept.append(place)  # a number, by which the test lets it go


def _ask(watched: Watched) -> None:
    for number in range(1000):
        watched(b"x" * (number % 1000))


@pytest.mark.parametrize("keep", [_keep_in_python, _keep_in_c])
def test_what_keeps_something_of_each_input_fails(
    keep: Callable[[list[object]], None], capfd: pytest.CaptureFixture[str]
) -> None:
    """Whether Python has it or a library in C, of which Python knows nothing."""
    kept: list[object] = []
    watched = Watched(lambda _: keep(kept), every=100, most=2_000_000)
    try:
        with pytest.raises(AssertionError, match="2 MB are allowed"):
            _ask(watched)
        assert 300 <= len(kept) <= 500
        assert "100 inputs: " in capfd.readouterr().err
    finally:
        release = ctypes.CDLL(None).free
        for each in kept:
            if isinstance(each, int):
                release(ctypes.c_void_p(each))


def test_what_lets_all_go_passes() -> None:
    """Circles too, which only the garbage collector finds, and the largest of all inputs."""

    def circle(data: bytes) -> None:
        ring: list[object] = [bytearray(data * 100)]
        ring.append(ring)

    _ask(Watched(circle, every=100, most=2_000_000))
