"""API keys: made at random, kept as hashes, read strictly, and found by looking at all of them."""

import hashlib
import hmac
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import LimitedError
from service.keyring import Keyring
from service.keys import find, is_exposed, new_key, written
from service.scopes import SCOPES

HASH = "sha256:" + "0" * 64
LINE = f"alice predict - {HASH}"

names = st.from_regex(r"[A-Za-z0-9._-]{1,64}", fullmatch=True)
scopes = st.lists(st.sampled_from(SCOPES), min_size=1, unique=True)
rates = st.none() | st.integers(1, 10**6).map(float) | st.floats(0.001, 1e6).map(lambda rate: round(rate, 3))


def test_a_key_is_random_and_long() -> None:
    """No two are the same, and each has 256 bits: 43 letters of 6 bits behind the prefix."""
    made = {new_key() for _ in range(1000)}
    assert len(made) == 1000
    assert all(re.fullmatch(r"dsk_[A-Za-z0-9_-]{43}", key) for key in made)


@given(names, scopes, rates)
def test_what_is_written_is_read(name: str, scopes: list[Any], rate: float | None) -> None:
    """A line gives back its name, scopes and rate, and knows the key by the SHA-256 that hashlib gives."""
    secret = new_key()
    line = written(name, scopes, rate, secret)
    assert secret not in line and hashlib.sha256(secret.encode()).hexdigest() in line
    (key,) = Keyring(line).keys
    assert (key.name, key.scopes) == (name, frozenset(scopes))
    assert (None if key.bucket is None else key.bucket.rate) == rate
    assert find([key], secret.encode()) is key


def test_a_file_is_read_with_its_comments(tmp_path: Path) -> None:
    """Blank lines and comments are passed over, and the keys come in their order."""
    file = tmp_path / "keys"
    file.write_text(f"# of 2026\n\n{LINE}\n  # and\nbob inspect,metrics 2.5 sha256:{'1' * 64}\n", encoding="utf-8")
    alice, bob = Keyring(str(file)).keys
    assert (alice.name, alice.scopes, alice.bucket) == ("alice", frozenset({"predict"}), None)
    assert (bob.name, bob.scopes) == ("bob", frozenset({"inspect", "metrics"}))
    assert bob.bucket is not None and bob.bucket.rate == 2.5


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("alice predict -", "a line is to have a name, scopes, a rate and sha256:…, and this one has 3 parts"),
        (f"{LINE} more", "this one has 5 parts"),
        (f"al/ice predict - {HASH}", "a name is to be of 1 to 64 letters, digits and ._-"),
        (f"alice - - {HASH}", "scopes are to be of predict, inspect, metrics, admin, with commas between them"),
        (f"alice predict,all - {HASH}", "scopes are to be of"),
        (f"alice predict,,inspect - {HASH}", "scopes are to be of"),
        *((f"alice predict {rate} {HASH}", "a rate is to be") for rate in ("0", "-1", "nan", "inf", "1e9", "much")),
        ("alice predict - sha256:" + "0" * 63, "64 digits of a key's SHA-256"),
        ("alice predict - sha256:" + "A" * 64, "in small letters"),
        (f"{LINE}\nbob predict - {HASH}", "line 2: the name or the key was there before"),
        (f"{LINE}\nalice predict - sha256:{'1' * 64}", "line 2: the name or the key was there before"),
    ],
)
def test_what_is_no_key_is_refused(tmp_path: Path, line: str, said: str) -> None:
    """From a file, the sentence names the file, the line and the problem."""
    file = tmp_path / "keys"
    file.write_text(line, encoding="utf-8")
    with pytest.raises(ValueError, match=re.escape(said)) as refused:
        Keyring(str(file))
    assert str(refused.value).startswith(f"{file}, line ")


def test_a_key_in_the_place_of_its_hash_is_not_repeated(tmp_path: Path) -> None:
    """Who writes the key itself into the file finds it in no message, and so in no log."""
    file = tmp_path / "keys"
    secret = new_key()
    file.write_text(f"alice predict - {secret}", encoding="utf-8")
    with pytest.raises(ValueError, match="a line is to end with sha256:") as refused:
        Keyring(str(file))
    assert secret not in str(refused.value)


def test_a_file_that_is_none_is_said(tmp_path: Path) -> None:
    """Missing, empty of keys, or no text."""
    with pytest.raises(ValueError, match="missing cannot be read: No such file or directory"):
        Keyring(str(tmp_path / "missing"))
    empty = tmp_path / "empty"
    empty.write_text("# none yet\n", encoding="utf-8")
    with pytest.raises(ValueError, match="empty: there are no keys in it"):
        Keyring(str(empty))
    empty.write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match="is no text"):
        Keyring(str(empty))


@pytest.mark.parametrize(
    ("mode", "exposed"),
    [(0o600, False), (0o400, False), (0o440, False), (0o640, False), (0o644, True), (0o660, True), (0o602, True)],
)
def test_a_file_that_others_reach_is_exposed(tmp_path: Path, mode: int, *, exposed: bool) -> None:
    """Its group may read it, as with the secrets of Kubernetes; nobody else may, and nobody else may write."""
    file = tmp_path / "keys"
    file.write_text(LINE, encoding="utf-8")
    file.chmod(mode)
    assert is_exposed(str(file)) == exposed
    assert not is_exposed(LINE)


@pytest.mark.parametrize("which", [0, 2, 4, None])
def test_all_keys_are_compared_whichever_it_is(monkeypatch: pytest.MonkeyPatch, which: int | None) -> None:
    """The first, the last and a wrong one cost the same comparisons, each of whole hashes and in constant time."""
    secrets = [new_key() for _ in range(5)]
    keys = Keyring("\n".join(written(f"k{n}", ["predict"], None, key) for n, key in enumerate(secrets))).keys
    compared: list[tuple[int, int]] = []

    def noting(ours: bytes, theirs: bytes) -> bool:
        compared.append((len(ours), len(theirs)))
        return ours == theirs

    monkeypatch.setattr(hmac, "compare_digest", noting)
    found = find(keys, (new_key() if which is None else secrets[which]).encode())
    assert found is (None if which is None else keys[which])
    assert compared == [(32, 32)] * 5


def test_a_key_that_has_asked_too_often_is_told_when() -> None:
    """With two a second, two may come at once, and the third is to wait for at most half a second."""
    (key,) = Keyring(f"alice predict 2 {HASH}").keys
    key.spend()
    key.spend()
    with pytest.raises(LimitedError, match="this API key may ask 2 times a second, and has") as refused:
        key.spend()
    assert 0 < refused.value.wait <= 0.5
    key.give_back()
    key.spend()


def test_a_key_without_a_rate_may_always_ask() -> None:
    """However often it does, and what is given back changes nothing."""
    (key,) = Keyring(LINE).keys
    for _ in range(10_000):
        key.spend()
    key.give_back()
