"""Which format an Accept header chooses."""

import pytest

from service.accept import preferred

TYPES = {"png": "image/png", "json": "application/json"}


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("", "png"),
        ("*/*", "png"),
        ("application/json", "json"),
        ("image/png;q=0.1, Application/JSON ; q=0.2", "json"),
        ("application/json;q=0", "png"),
        ("application/json;q=nonsense", "json"),
        ("text/html, application/json;q=0.001", "json"),
    ],
)
def test_the_largest_weight_wins(header: str, expected: str) -> None:
    """Of those that are named and wanted at all, and the default where there is none."""
    assert preferred(header, TYPES, "png") == expected
