"""Headers of every answer in which the model has a part."""

from service.manifest import Manifest


def model_headers(manifest: Manifest) -> dict[str, str]:
    """Which model answered: its name and version, and the SHA-256 of its ONNX file."""
    return {
        "X-Digitscope-Model": f"{manifest.name}/{manifest.version}",
        "X-Digitscope-SHA256": manifest.sha256,
    }
