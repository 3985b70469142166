"""Signed versions: what another key signed, or was changed since, is refused."""

from pathlib import Path

import pytest

from benchmarks.candidates import Candidates
from service.candidate import open_version, reason
from service.errors import ModelError
from service.settings import Settings

signing = pytest.importorskip("model_signing.signing", reason="needs the extra signing")
pytest.importorskip("OpenSSL")


def _key(folder: Path, name: str) -> Path:
    """A key pair by cryptography: the private one's path, beside which `<name>.pub` lies."""
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415 — comes with model-signing
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415

    key = ec.generate_private_key(ec.SECP256R1())
    private = folder / name
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    private.with_suffix(".pub").write_bytes(public)
    return private


def test_only_what_the_key_s_owner_signed_is_served(tmp_path: Path) -> None:
    """Every file counts, also one that is added, and one that is only shown."""
    models = tmp_path / "models"
    folder = Candidates(models, 1).make(1)
    (folder / "README.md").write_text("the card")
    private, other = _key(tmp_path, "own"), _key(tmp_path, "other")
    settings = Settings(models=models, provider="cpu", model_public_key=private.with_suffix(".pub"))

    def refused() -> str:
        with pytest.raises(ModelError) as error:
            open_version(settings, "1")
        return reason(error.value, settings)

    def sign(key: Path) -> None:
        signature = folder / "model.sig"
        hashing = signing.hashing.Config().set_ignored_paths(paths=[signature], ignore_git_paths=True)
        signer = signing.Config().set_hashing_config(hashing).use_elliptic_key_signer(private_key=key)
        signer.sign(folder, signature)

    assert refused() == "version 1 is not signed"
    sign(private)
    assert open_version(settings, "1").healthy
    (folder / "README.md").write_text("another card")
    assert refused() == "version 1 is not what the key's owner signed"
    (folder / "README.md").write_text("the card")
    (folder / "more").write_text("")
    assert refused() == "version 1 is not what the key's owner signed"
    (folder / "more").unlink()
    assert open_version(settings, "1").healthy
    sign(other)
    assert refused() == "version 1 is not what the key's owner signed"
    (folder / "model.sig").write_text("{}")
    assert refused() == "version 1 is not what the key's owner signed"
