"""The model, open: the provider asked for, the provider got, its threads, its answers.

ONNX Runtime runs it, or OpenVINO does where it is to predict. What looks inside is always ONNX Runtime's.
"""

import contextlib
import ctypes
import io
import os
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from service.avx512 import laid_out
from service.cpus import available_cpus
from service.errors import EngineError, ModelError, ProviderError
from service.graph import Graph
from service.lanes import Lanes
from service.manifest import NORMALISED, Faster, Manifest, Precision
from service.openvino import OpenVino
from service.runtime import CPU, FATAL, Session, ort, session_options

Provider = Literal["auto", "cuda", "tensorrt", "cpu"]
Runtime = Literal["onnxruntime", "openvino"]
Images = NDArray[np.uint8]
Activations = NDArray[np.float32]

_GPU_PROVIDERS = {"cuda": "CUDAExecutionProvider", "tensorrt": "TensorrtExecutionProvider"}
_GPU_LIBRARIES = {"cuda": "libonnxruntime_providers_cuda.so", "tensorrt": "libonnxruntime_providers_tensorrt.so"}
_PARAMETERS = ("weight", "bias")
_GOLDEN_TOLERANCE = 1e-3  # |Δlogit|; verification holds 1e-4 on the machine that trained
# A variant's integer sums are the same everywhere, since they cannot saturate. But a float on the edge between two
# steps may be rounded to the other one by another machine's kernels. Between ONNX Runtime with optimisations, without,
# and ONNX's reference that moved no logit of thousands of digits by more than 0.009; a wrong kernel errs by far more.
_VARIANT_TOLERANCE = 0.05
# bfloat16 has 8 bits of a value. Of 10,000 digits that moved no logit by more than 0.1, and changed no answer.
_BFLOAT16_TOLERANCE = 0.25


def _obstacle(provider: str) -> str | None:
    """Why a GPU provider cannot be used here, as far as can be told before a session is opened."""
    if _GPU_PROVIDERS[provider] not in ort.get_available_providers():
        return f"the installed ONNX Runtime {ort.__version__} is built without {_GPU_PROVIDERS[provider]}"
    if provider == "tensorrt":
        # It takes TF32 unasked, 10 bits of the contract's float32, and ONNX Runtime has no option against that.
        os.environ["NVIDIA_TF32_OVERRIDE"] = "0"
    # The provider's own library is opened once here, because ONNX Runtime only logs what its loading lacked.
    with contextlib.redirect_stdout(io.StringIO()):
        ort.preload_dlls(directory="")
    folder = Path(ort.__file__).parent / "capi"
    try:
        ctypes.CDLL("libcuda.so.1")
        ctypes.CDLL(str(folder / "libonnxruntime_providers_shared.so"), mode=ctypes.RTLD_GLOBAL)
        ctypes.CDLL(str(folder / _GPU_LIBRARIES[provider]))
    except OSError as error:
        return str(error).removeprefix(f"{folder}{os.sep}")
    return None


def usable_gpu(provider: Provider) -> bool:
    """Whether an engine of this provider is likely to run on a GPU."""
    return provider != "cpu" and _obstacle("cuda" if provider == "auto" else provider) is None


class Engine:
    """One verified model, open, warmed and asked its golden inputs.

    Attributes:
        manifest: the contract of the model that is open.
        precision: of the file that predicts, or bf16, in which OpenVINO computes what the float32 file says.
        runtime: what predicts.
        provider: the execution provider that ONNX Runtime's sessions really have.
        fallback: why `auto` did not take a GPU, or None.
        threads: CPU threads of one run.
        no_graphs: why a GPU runs without CUDA graphs, if it does.
        healthy: whether it has answered all that it was asked since its golden inputs were last answered right.
    """

    def __init__(
        self,
        model: bytes,
        manifest: Manifest,
        *,
        provider: Provider = "auto",
        threads: int = 0,
        optimise: bool = True,
        variant: tuple[Faster, bytes] | None = None,
        runtime: Runtime = "onnxruntime",
        bfloat16: bool = False,
    ) -> None:
        """Opens the model; `threads` 0 follows the CPUs that the process may use.

        `model` is the float32 file. `variant` is the precision and the file that predict in its stead; feature maps
        come from `model` all the same, and from ONNX Runtime. With `bfloat16`, OpenVINO computes in that.

        Raises:
            ProviderError: `cuda` or `tensorrt` was asked for and cannot be used, or cannot run the model; or OpenVINO
                was, and is not installed, or the CPU has no bfloat16.
            ModelError: a file is no such model, or its golden inputs get wrong answers.
        """
        self.manifest = manifest
        self._model = model
        self.threads = threads or available_cpus()
        self.fallback: str | None = None
        self.no_graphs: str | None = None
        self.healthy = True
        self._optimise = optimise
        self.precision: Precision | Literal["bf16"] = "bf16" if bfloat16 else variant[0] if variant else "fp32"
        self.runtime = runtime
        if bfloat16 and (variant or runtime != "openvino"):
            raise ProviderError("precision 'bf16' is of the float32 file in OpenVINO alone")
        predicting = variant[1] if variant else model
        gpu = "cuda" if provider == "auto" else provider
        if gpu == "cpu":
            self.provider = CPU
        elif obstacle := _obstacle(gpu):
            if provider != "auto":
                raise ProviderError(f"provider '{gpu}' was asked for and cannot be used: {obstacle}")
            self.provider, self.fallback = CPU, obstacle
        else:
            self.provider = _GPU_PROVIDERS[gpu]
            if variant:
                raise ProviderError(f"precision '{variant[0]}' is for a CPU, and the provider is {self.provider}")
            if runtime == "openvino":
                raise ProviderError(f"runtime 'openvino' is for a CPU, and the provider is {self.provider}")
        self._asked = provider
        self._predicting_file = predicting
        self._open_or_fall_back()

    def _open_or_fall_back(self) -> None:
        try:
            self._open(self._predicting_file)
        except ProviderError as error:
            if self._asked != "auto" or self.provider == CPU:
                raise
            self.provider, self.fallback = CPU, str(error)
            self._open(self._predicting_file)

    def _open(self, predicting: bytes) -> None:
        # What was open before stays until something else is, as it may be asked meanwhile.
        fixed: Lanes | OpenVino | None = None
        if self.provider != CPU:
            fixed = self._open_lanes(predicting)
        elif self.runtime == "openvino":
            outputs = {output.name: output.shape[1:] for output in self.manifest.outputs}
            fixed = OpenVino(
                predicting, self.manifest.input.name, outputs, threads=self.threads, bfloat16=self.precision == "bf16"
            )
        else:
            self._predicting = self._laid_out_session(predicting) if self._optimise else self._session(predicting)
        self._fixed = fixed
        try:
            self._check()
        finally:
            self.__dict__.pop(
                "_inspecting", None
            )  # 17 MB that only those need who look inside; the first opens it again

    def _laid_out_session(self, model: bytes) -> ort.InferenceSession:
        """What predicts on a CPU; where the layout does not suit the file after all, the file as it is."""
        laid = laid_out(model, self.manifest.layers, floats=self.precision == "fp32")
        try:
            return self._session(laid)
        except ModelError:
            return self._session(model)

    @cached_property
    def _inspecting(self) -> ort.InferenceSession:
        """What looks inside: fusing a convolution with its ReLU, as predicting does, hides the value between them."""
        names = (NORMALISED, *(layer.name for layer in self.manifest.features))
        inspected = Graph().outputs(*names).behind(self._model)
        return self._session(inspected, arena=False)  # an arena would keep 40 MB

    def _open_lanes(self, model: bytes) -> Lanes:
        """What predicts on a GPU, by CUDA graphs where the provider can capture the model."""
        outputs = {output.name: output.shape[1:] for output in self.manifest.outputs}
        source = self.manifest.input.name
        if self.provider == _GPU_PROVIDERS["cuda"]:
            try:
                return Lanes(self._session(model, graphs=True), source, outputs, device="cuda", graphs=True)
            except Exception as error:  # when the session is opened, or when the first graph is captured
                self.no_graphs = str(error.__cause__ or error)
        session = self._session(model)
        try:
            return Lanes(session, source, outputs, device="cuda", graphs=False)
        except Exception as error:  # onnxruntime raises classes of its own that share only this root
            raise ProviderError(f"{self.provider} opens the model and cannot run it") from error

    def _session(self, model: bytes, *, graphs: bool = False, arena: bool = True) -> ort.InferenceSession:
        options = session_options(self.threads, arena=arena, optimise=self._optimise)
        providers: list[Any] = [CPU]
        if self.provider != CPU:
            ort.set_default_logger_severity(FATAL)
            # TF32 would be 10 bits of the contract's float32.
            cuda = ("CUDAExecutionProvider", {"use_tf32": "0", "enable_cuda_graph": str(int(graphs))})
            providers = [cuda, CPU]
            if self.provider == _GPU_PROVIDERS["tensorrt"]:
                providers.insert(0, self.provider)
        try:
            session = ort.InferenceSession(model, options, providers=providers, enable_fallback=0)
        except Exception as error:  # onnxruntime raises classes of its own that share only this root
            if self.provider != CPU:
                raise ProviderError(f"{self.provider} does not open the model") from error
            raise ModelError("ONNX Runtime cannot open the model") from error
        session.disable_fallback()
        session._model_bytes = None  # a copy that it would keep, to open the model anew with other providers
        got = session.get_providers()[0]
        if got != self.provider:
            raise ProviderError(f"ONNX Runtime gave {got} where {self.provider} was asked for")
        return session

    def _check(self) -> None:
        """Asks the golden inputs, which also warms both sessions."""
        golden = self.manifest.golden
        images = np.frombuffer(b"".join(digit.pixels() for digit in golden), np.uint8).reshape(-1, 1, 28, 28)
        expected = np.array([digit.logits for digit in golden])
        right, tolerance = expected, _GOLDEN_TOLERANCE
        if self.precision == "bf16":
            tolerance = _BFLOAT16_TOLERANCE
        elif self.precision != "fp32":
            right, tolerance = np.array(self.manifest.variants[self.precision].golden), _VARIANT_TOLERANCE
        sizes = (len(golden),) if self._fixed is None else self._fixed.sizes  # each of which could be a wrong one
        try:
            predicted = [self.predict(np.resize(images, (size, *images.shape[1:]))) for size in sizes]
            inspected = self.inspect(images, ["logits", *(layer.name for layer in self.manifest.features)])
        except EngineError as error:
            if self.provider != CPU:  # a driver or GPU that is too old is found out by the first run alone
                raise ProviderError(f"{self.provider} opens the model and cannot run it") from error
            raise ModelError("the model does not answer its golden inputs") from error
        for layer in self.manifest.features:
            if inspected[layer.name].shape[1:] != layer.shape:
                raise ModelError(f"layer {layer.name} has another shape than the manifest says")
        _compare(inspected["logits"], expected, _GOLDEN_TOLERANCE)
        for size, (logits, probabilities) in zip(sizes, predicted, strict=True):
            _compare(logits, np.resize(right, (size, *right.shape[1:])), tolerance)
            if not np.allclose(probabilities.sum(axis=1), 1, atol=1e-5):
                raise ModelError("the probabilities of the golden inputs do not sum to 1")

    def predict(self, images: Images) -> tuple[Activations, Activations]:
        """Logits and probabilities, each float32 (n, 10), of images uint8 (n, 1, 28, 28), bright ink on black.

        Raises:
            EngineError: the run failed.
        """
        try:
            if self._fixed is None:
                logits, probabilities = self._run(self._predicting, ["logits", "probabilities"], images)
            else:
                logits, probabilities = _guarded(self._fixed.run, images)
        except EngineError:
            self.healthy = False
            raise
        return logits, probabilities

    def inspect(self, images: Images, names: Sequence[str]) -> dict[str, Activations]:
        """The named layers or outputs, each float32 (n, *shape of the layer), of images as `predict` takes them.

        `service.manifest.NORMALISED`, what the first layer takes, can be named too.

        Raises:
            EngineError: the run failed.
        """
        return dict(zip(names, self._run(self._inspecting, names, images), strict=True))

    def _run(self, session: ort.InferenceSession, names: Sequence[str], images: Images) -> list[Activations]:
        return _guarded(lambda images: session.run(list(names), {self.manifest.input.name: images}), images)

    @cached_property
    def parameters(self) -> Mapping[str, Activations]:
        """Weights and bias of each layer that has them, as `conv1.weight` and so on, and `mean` and `std` of the input.

        They are float32 as the file has them, BatchNorm folded: (outputs, inputs, height, width) of a convolution,
        (outputs, inputs) of a linear layer; `mean` and `std` are scalars in grey levels.
        """
        names = [f"{layer.name}.{kind}" for layer in self.manifest.layers if layer.parameters for kind in _PARAMETERS]
        names += ["mean", "std"]
        image = np.zeros((1, *self.manifest.input.shape[1:]), np.uint8)
        return self.beside(Graph().outputs(*names)).run(names, {self.manifest.input.name: image})

    def beside(self, graph: Graph) -> Session:
        """A session on the CPU of the float32 file with further parts behind its own.

        Raises:
            EngineError: the parts do not fit.
        """
        return Session(graph.behind(self._model))

    @property
    def graphs(self) -> bool:
        """Whether batches run as CUDA graphs."""
        return isinstance(self._fixed, Lanes) and self._fixed.graphs

    @property
    def openvino(self) -> str | None:
        """The version of OpenVINO, where it is what predicts."""
        return self._fixed.version if isinstance(self._fixed, OpenVino) else None

    def recover(self) -> bool:
        """Asks the golden inputs again after a failure; whether they are answered right decides if it is healthy."""
        try:
            self._check()
        except (ModelError, ProviderError):
            self.healthy = False
        else:
            self.healthy = True
        return self.healthy

    def reopen(self) -> bool:
        """Opens the model anew, which helps where a session is lost; whether it answers decides if it is healthy."""
        try:
            self._open_or_fall_back()
        except (ModelError, ProviderError):
            self.healthy = False
        else:
            self.healthy = True
        return self.healthy


def _guarded(run: Callable[[Images], list[Activations]], images: Images) -> list[Activations]:
    try:
        return run(images)
    except Exception as error:  # onnxruntime raises classes of its own that share only this root
        raise EngineError(f"the engine failed on a batch of {len(images)}") from error


def _compare(answer: Activations, right: NDArray[np.float64], tolerance: float) -> None:
    if answer.shape != right.shape or not np.abs(answer - right).max() <= tolerance:
        raise ModelError(f"the golden inputs are answered wrong, by more than {tolerance} in a logit")
