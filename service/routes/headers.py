"""Headers of answers that are no JSON of the service's own."""

from service.manifest import Manifest


def model_headers(manifest: Manifest) -> dict[str, str]:
    """Which model answered: its name and version, and the SHA-256 of its ONNX file."""
    return {
        "X-Digitscope-Model": f"{manifest.name}/{manifest.version}",
        "X-Digitscope-SHA256": manifest.sha256,
    }
