"""ETags: what they depend on, and which header names them."""

import pytest

import service
from service.routes.unchanged import entity_tag, is_known

TAG = entity_tag("model", 3)


def test_a_tag_is_of_all_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same of the same, and another one of other parts, of parts cut otherwise, and of another service."""
    assert entity_tag("model", 3) == TAG
    assert TAG[0] == TAG[-1] == '"' and len(TAG) == 34
    assert len({TAG, entity_tag("model", 4), entity_tag("model3"), entity_tag("mode", "l3"), entity_tag("model")}) == 5
    monkeypatch.setattr(service, "__version__", "0")
    assert entity_tag("model", 3) != TAG


@pytest.mark.parametrize(
    ("header", "known"),
    [
        (TAG, True),
        (f"W/{TAG}", True),
        (f'"other", {TAG}', True),
        (f'{TAG},W/"other"', True),
        ("*", True),
        (" * ", True),
        ("", False),
        ('"other"', False),
        (TAG[1:-1], False),
        (TAG[:-1], False),
        (f'"{TAG[1:-1]} more"', False),
        ('"*"', False),
        (f"a{' ' * 60_000}a", False),  # which is looked at once, and not anew from every space
    ],
)
def test_a_header_names_a_tag(header: str, known: bool) -> None:
    """Among several, as a weak one, or by a star; compared weakly, as RFC 9110 has it for If-None-Match."""
    assert is_known(header, TAG) is known
