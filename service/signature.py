"""The signature of a version's folder, made and checked by OpenSSF's model-signing (https://github.com/sigstore/model-transparency)."""

from pathlib import Path

from service.errors import ModelError

SIGNATURE_FILE = "model.sig"


def check_signature(directory: Path, public_key: Path) -> None:
    """Sees that a version's folder is what the owner of a key signed: each file as it was, and none more.

    Nothing is asked of the network.

    Raises:
        ModelError: it is not.
    """
    from model_signing.verifying import Config  # noqa: PLC0415 — of an extra, and it takes a second

    signature = directory / SIGNATURE_FILE
    if not signature.is_file():
        raise ModelError(f"version {directory.name} is not signed")
    try:
        Config().use_elliptic_key_verifier(public_key=public_key).verify(directory, signature)
    except Exception as error:  # it raises what the libraries beneath it raise
        raise ModelError(f"version {directory.name} is not what the key's owner signed") from error
