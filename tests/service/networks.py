"""Networks of the tests' own, written by the onnx package with the contract's names, and served by the engine."""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from service.engine import Engine
from service.layer import Layer, convolution_size
from service.manifest import Golden, Manifest, Rejection, TensorSpec

Parameters = Mapping[str, NDArray[np.float32]]


def convolution(
    name: str, before: Layer | None, channels: int, kernel: int, stride: int = 1, padding: int = 0
) -> Layer:
    """A convolution behind a layer, or behind the image."""
    size = convolution_size(before.shape[-1] if before else 28, kernel, stride, padding)
    return Layer(
        name=name,
        operator="Conv",
        shape=(channels, size, size),
        kernel=kernel,
        stride=stride,
        padding=padding,
        parameters=1,
    )


def relu(name: str, before: Layer) -> Layer:
    """A ReLU behind a layer."""
    return Layer(name=name, operator="Relu", shape=before.shape)


def pooling(name: str, before: Layer, kernel: int, stride: int, padding: int = 0) -> Layer:
    """A max pooling behind a layer."""
    size = convolution_size(before.shape[-1], kernel, stride, padding)
    shape = (before.shape[0], size, size)
    return Layer(name=name, operator="MaxPool", shape=shape, kernel=kernel, stride=stride, padding=padding)


def linear(name: str, values: int) -> Layer:
    """A linear layer."""
    return Layer(name=name, operator="Gemm", shape=(values,), parameters=1)


def weight_shapes(layers: Sequence[Layer]) -> dict[str, tuple[int, ...]]:
    """The shape of each layer's weights."""
    shapes: dict[str, tuple[int, ...]] = {}
    before: tuple[int, ...] = (1, 28, 28)
    for layer in layers:
        if layer.operator == "Conv" and layer.kernel:
            shapes[layer.name] = (layer.shape[0], before[0], layer.kernel, layer.kernel)
        elif layer.operator == "Gemm":
            shapes[layer.name] = (layer.shape[0], int(np.prod(before)))
        before = layer.shape
    return shapes


def serve(layers: Sequence[Layer], parameters: Parameters, mean: float = 0.0, std: float = 255.0) -> Engine:
    """An engine of the layers, the last of which gives the ten logits, with `<layer>.weight` and `<layer>.bias`.

    A bias that is not given is 0.
    """
    biases = {f"{layer.name}.bias": np.zeros(layer.shape[0], np.float32) for layer in layers if layer.parameters}
    model = _model(layers, {**biases, **parameters, "mean": np.float32(mean), "std": np.float32(std)})
    image = np.arange(784, dtype=np.uint8).reshape(1, 1, 28, 28)
    logits = ReferenceEvaluator(model).run(["logits"], {"image": image})[0][0]
    content: bytes = model.SerializeToString()
    return Engine(content, _manifest(content, layers, image, logits), provider="cpu", threads=1)


def _model(layers: Sequence[Layer], constants: Mapping[str, Any]) -> Any:
    nodes = [
        helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("Sub", ["pixels", "mean"], ["centred"]),
        helper.make_node("Div", ["centred", "std"], ["normalised"]),
    ]
    value = "normalised"
    for layer in layers:
        sizes: dict[str, Any] = {}
        if layer.kernel is not None:
            sizes = {"kernel_shape": [layer.kernel] * 2, "strides": [layer.stride] * 2, "pads": [layer.padding] * 4}
        if layer.operator == "Gemm":
            nodes.append(helper.make_node("Flatten", [value], [f"{layer.name}.input"], axis=1))
            value, sizes = f"{layer.name}.input", {"transB": 1}
        inputs = [value, f"{layer.name}.weight", f"{layer.name}.bias"] if layer.parameters else [value]
        nodes.append(helper.make_node(layer.operator, inputs, [layer.name], **sizes))
        value = layer.name
    nodes.append(helper.make_node("Softmax", [value], ["probabilities"], axis=1))
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, ["batch", 1, 28, 28])
    outputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 10]) for name in ("logits", "probabilities")
    ]
    initializers = [numpy_helper.from_array(np.asarray(values), name) for name, values in constants.items()]
    graph = helper.make_graph(nodes, "test", [image], outputs, initializers)
    return helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 20)])


def _manifest(content: bytes, layers: Sequence[Layer], image: NDArray[np.uint8], logits: NDArray[Any]) -> Manifest:
    encoded = base64.b64encode(image.tobytes()).decode()
    golden = Golden(label=0, image=encoded, logits=tuple(float(logit) for logit in logits))
    return Manifest(
        name="digits",
        version="1",
        created="2026-01-01T00:00:00Z",  # type: ignore[arg-type]  # pydantic parses it
        sha256=hashlib.sha256(content).hexdigest(),
        input=TensorSpec(name="image", datatype="UINT8", shape=(-1, 1, 28, 28)),
        outputs=tuple(TensorSpec(name=name, datatype="FP32", shape=(-1, 10)) for name in ("logits", "probabilities")),
        layers=tuple(layers),
        labels=tuple("0123456789"),
        temperature=1,
        rejection=Rejection(),
        golden=(golden,),
        training={},
        data={},
        metrics={},
        libraries={},
    )
