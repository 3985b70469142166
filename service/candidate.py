"""A version on its way to being served: all that has to hold of it, the cheapest to find out first."""

from pathlib import Path

from service.choice import open_faster
from service.engine import Engine, Runtime, usable_gpu
from service.errors import ModelError
from service.manifest import Manifest, Precision, load_manifest, load_model
from service.scrutiny import check_model
from service.settings import Settings
from service.signature import check_signature


def open_version(settings: Settings, version: str) -> Engine:
    """The engine of one version of the settings' model: verified, warmed, and asked its golden inputs.

    What is checked is what is opened: each file is read once, and its bytes are then looked into and run.

    Raises:
        ModelError: there is no such version, or it is not what its manifest says, or may not be served.
        ProviderError: the provider asked for by name cannot be used.
    """
    directory = settings.models / settings.model_name / version
    _check_folder(directory, settings.models)
    if settings.model_public_key is not None:
        check_signature(directory, settings.model_public_key)
    manifest = load_manifest(directory)
    if (manifest.name, manifest.version) != (settings.model_name, version):
        raise ModelError(f"{directory} holds another model: {manifest.name}, version {manifest.version}")
    precision = _precision(settings, manifest)
    variant = None if precision == "fp32" else (precision, _load(directory, manifest, precision))
    model = _load(directory, manifest, "fp32")
    bfloat16 = settings.precision == "bf16"

    def open_with(runtime: Runtime) -> Engine:
        return Engine(
            model,
            manifest,
            provider=settings.provider,
            threads=settings.threads,
            variant=variant,
            runtime=runtime,
            bfloat16=bfloat16,
        )

    if settings.runtime != "auto":
        return open_with(settings.runtime)
    if settings.precision == "auto":
        return open_faster(open_with)
    return open_with("openvino" if bfloat16 else "onnxruntime")


def reason(error: Exception, settings: Settings) -> str:
    """Why a version is refused, in a sentence that says nothing of where the models lie."""
    return str(error).replace(f"{settings.models / settings.model_name}/", "")


def _load(directory: Path, manifest: Manifest, precision: Precision) -> bytes:
    model = load_model(directory, manifest, precision)
    check_model(model, manifest, precision, f"the {precision} file of version {manifest.version}")
    return model


def _precision(settings: Settings, manifest: Manifest) -> Precision:
    """Of the file that predicts."""
    if settings.precision == "bf16":
        return "fp32"
    if settings.precision != "auto":
        return settings.precision
    return "int8" if "int8" in manifest.variants and not usable_gpu(settings.provider) else "fp32"


def _check_folder(directory: Path, models: Path) -> None:
    """Sees that nothing in a version's folder leads out of the folder of models."""
    if not directory.is_dir():
        return  # which is said of the first file that is looked for
    root = models.resolve()
    try:
        for path in (directory, *directory.iterdir()):
            if not path.resolve().is_relative_to(root):
                raise ModelError(f"{path} leads out of the folder of models")
    except OSError as error:
        raise ModelError(f"{directory} cannot be read: {error.strerror}") from error
