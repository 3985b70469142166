"""The model laid out for AVX-512: what ONNX says it computes, to the bit what ONNX Runtime makes of the file itself."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import numpy_helper

import service.avx512
import service.engine
from service.avx512 import laid_out
from service.cpus import cpu_flags
from service.engine import Engine
from service.errors import ModelError
from service.graph import Graph
from service.layer import Layer
from service.manifest import Manifest
from tests.conftest import Mnist

NAMES = ["logits", "probabilities"]
Files = dict[bool, bytes]
Reference = Callable[[NDArray[np.uint8]], dict[str, NDArray[np.float32]]]


@pytest.fixture(autouse=True)
def avx512(monkeypatch: pytest.MonkeyPatch) -> None:
    """A CPU that has it, as far as the service sees."""
    monkeypatch.setattr(service.avx512, "cpu_flags", lambda: frozenset({"avx512f"}))


@pytest.fixture(scope="module")
def files(model_folder: Path, model_bytes: bytes, manifest: Manifest) -> Files:
    """The shipped float32 file, and that of the int8 variant, by whether they compute in floats."""
    return {True: model_bytes, False: (model_folder / manifest.variants["int8"].file).read_bytes()}


def session(model: bytes, threads: int = 1) -> ort.InferenceSession:
    """A model open in ONNX Runtime, with nothing of the service."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("floats", [True, False])
def test_it_is_a_model_that_onnx_approves_of(files: Files, manifest: Manifest, floats: bool) -> None:
    """Its nodes are in order and its shapes fit; the constants and all nodes but two or three are the file's own."""
    laid: Any = onnx.load_model_from_string(laid_out(files[floats], manifest.layers, floats=floats))
    onnx.checker.check_model(laid, full_check=True)
    before: Any = onnx.load_model_from_string(files[floats])
    constants = {constant.name: numpy_helper.to_array(constant) for constant in laid.graph.initializer}
    for constant in before.graph.initializer:
        np.testing.assert_array_equal(constants[constant.name], numpy_helper.to_array(constant))
    gone = [node.output[0] for node in before.graph.node if node not in laid.graph.node]
    assert gone == ["conv1", "relu1", "pool1", *(["conv2"] if floats else [])]
    assert laid.graph.input == before.graph.input and laid.graph.output == before.graph.output


def test_it_computes_what_onnx_says(model_bytes: bytes, manifest: Manifest, mnist: Mnist, reference: Reference) -> None:
    """Real digits get the logits and probabilities of ONNX's reference evaluator, whatever the CPU has."""
    images = mnist.images[:12, None]
    found = session(laid_out(model_bytes, manifest.layers, floats=True)).run(NAMES, {"image": images})
    expected = reference(images)
    for name, values in zip(NAMES, found, strict=True):
        np.testing.assert_allclose(values, expected[name], atol=1e-4)


@pytest.mark.skipif("avx512f" not in cpu_flags(), reason="on another CPU the sums of both are made in other orders")
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("floats", [True, False])
def test_its_numbers_are_those_of_the_file_to_the_bit(
    files: Files, manifest: Manifest, mnist: Mnist, floats: bool, threads: int
) -> None:
    """Of thousands of real digits in batches of any size, and of noise, in which every pixel and every edge counts."""
    plain = session(files[floats], threads)
    laid = session(laid_out(files[floats], manifest.layers, floats=floats), threads)

    @settings(deadline=None, max_examples=60)
    @given(st.integers(0, 9_900), st.integers(1, 100), st.integers(0, 2**32 - 1))
    def check(start: int, count: int, seed: int) -> None:
        noise = np.random.default_rng(seed).integers(0, 256, (count, 1, 28, 28), np.uint8)
        for images in (mnist.images[start : start + count, None], noise):
            for ours, theirs in zip(
                laid.run(NAMES, {"image": images}), plain.run(NAMES, {"image": images}), strict=True
            ):
                np.testing.assert_array_equal(ours, theirs)

    check()


def test_on_another_cpu_the_file_is_as_it_is(
    monkeypatch: pytest.MonkeyPatch, model_bytes: bytes, manifest: Manifest
) -> None:
    """Where the CPU has no AVX-512, or the system does not tell."""
    for flags in ({"sse2", "avx2"}, set()):
        monkeypatch.setattr(service.avx512, "cpu_flags", lambda flags=flags: frozenset(flags))
        assert laid_out(model_bytes, manifest.layers, floats=True) is model_bytes


@pytest.mark.parametrize(
    ("layer", "change"),
    [
        ("conv1", {"shape": (16, 28, 28)}),
        ("conv1", {"shape": (8, 26, 26), "padding": 0}),
        ("conv1", {"stride": 2}),
        ("conv1", {"kernel": 5}),
        ("conv1", {"operator": "Gemm", "kernel": None}),
        ("relu1", {"operator": "MaxPool"}),
        ("pool1", {"kernel": 1}),
        ("pool1", {"shape": (8, 14, 15)}),
    ],
)
def test_another_network_is_as_it_is(
    model_bytes: bytes, manifest: Manifest, layer: str, change: dict[str, Any]
) -> None:
    """One whose first layer has as many channels as a block, no halves that fit, or is no convolution or so pooled."""
    place = ["conv1", "relu1", "pool1"].index(layer)
    layers = list(manifest.layers)
    layers[place] = layers[place].model_copy(update=change)
    assert laid_out(model_bytes, layers, floats=True) is model_bytes
    assert laid_out(model_bytes, manifest.layers[:2], floats=True) is model_bytes


def renamed(model: bytes, names: dict[str, str]) -> bytes:
    """The model with other names of tensors."""
    made: Any = onnx.load_model_from_string(model)
    for node in made.graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    for constant in made.graph.initializer:
        constant.name = names.get(constant.name, constant.name)
    serialized: bytes = made.SerializeToString()
    return serialized


@pytest.mark.parametrize("floats", [True, False])
@pytest.mark.parametrize("name", ["normalised", "conv1", "conv1.bias", "relu1"])
def test_other_nodes_stay_what_they_are(files: Files, manifest: Manifest, floats: bool, name: str) -> None:
    """A file whose tensors have other names computes what it did: a variant's inner tensors are its own."""
    model = renamed(files[floats], {name: "other"})
    assert laid_out(model, manifest.layers, floats=floats) is model


def test_a_convolution_with_other_edges_stays_what_it_is(model_bytes: bytes, manifest: Manifest) -> None:
    """What the file says counts, and not what the manifest says of it."""
    made: Any = onnx.load_model_from_string(model_bytes)
    conv1 = next(node for node in made.graph.node if node.output[0] == "conv1")
    next(attribute for attribute in conv1.attribute if attribute.name == "pads").ints[:] = [2, 2, 0, 0]
    model: bytes = made.SerializeToString()
    assert laid_out(model, manifest.layers, floats=True) is model


def test_what_is_no_model_is_as_it_is(model_bytes: bytes, manifest: Manifest) -> None:
    """Bytes that are no ONNX file, one that ends too early, and one that was laid out already; opening them tells."""
    laid = laid_out(model_bytes, manifest.layers, floats=True)
    assert laid is not model_bytes
    for model in (b"no model", b"", model_bytes[:-1], model_bytes[:1000], laid):
        assert laid_out(model, manifest.layers, floats=True) is model


def test_where_others_take_what_is_replaced_the_file_is_opened_as_it_is(
    model_bytes: bytes, manifest: Manifest, mnist: Mnist
) -> None:
    """A second node takes pool1, which is not there any more: the service answers what the file says all the same."""
    graph = Graph()
    graph.outputs(graph.node("Neg", ["pool1"], "negative"))
    images = mnist.images[:8, None]
    logits, _ = Engine(graph.behind(model_bytes), manifest, provider="cpu").predict(images)
    np.testing.assert_allclose(logits, session(model_bytes).run(["logits"], {"image": images})[0], atol=1e-4)


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("padding", [0, 1, 2, 4])
def test_another_second_convolution_is_computed_as_it_is(
    model_bytes: bytes, manifest: Manifest, mnist: Mnist, stride: int, padding: int
) -> None:
    """Of a file that ends there, with another stride and other edges, ONNX Runtime computes the same either way."""
    made: Any = onnx.load_model_from_string(model_bytes)
    place = next(number for number, node in enumerate(made.graph.node) if node.output[0] == "conv2")
    for attribute in made.graph.node[place].attribute:
        attribute.ints[:] = {"pads": [padding] * 4, "strides": [stride] * 2}.get(attribute.name, attribute.ints)
    del made.graph.node[place + 1 :], made.graph.output[:]
    made.graph.output.append(onnx.ValueInfoProto(name="conv2"))
    change = {"stride": stride, "padding": padding}
    layers = [layer.model_copy(update=change) if layer.name == "conv2" else layer for layer in manifest.layers]
    model: bytes = made.SerializeToString()
    laid = laid_out(model, layers, floats=True)
    assert laid is not model
    images = {"image": mnist.images[:5, None]}
    np.testing.assert_allclose(session(laid).run(None, images)[0], session(model).run(None, images)[0], atol=1e-5)


def test_without_optimisation_the_file_is_as_it_is(
    monkeypatch: pytest.MonkeyPatch, model_bytes: bytes, manifest: Manifest
) -> None:
    """Verification asks an engine that leaves the graph alone as well: to that the layout does nothing."""
    asked: list[bytes] = []

    def spied(model: bytes, layers: Sequence[Layer], *, floats: bool) -> bytes:
        asked.append(model)
        return laid_out(model, layers, floats=floats)

    monkeypatch.setattr(service.engine, "laid_out", spied)
    Engine(model_bytes, manifest, provider="cpu", optimise=False)
    assert asked == []
    Engine(model_bytes, manifest, provider="cpu")
    assert asked == [model_bytes]


def test_a_layout_that_computes_something_else_is_refused(
    monkeypatch: pytest.MonkeyPatch, model_bytes: bytes, manifest: Manifest
) -> None:
    """The golden inputs are asked of what predicts: where each kernel reads the other half, the model does not open."""

    def wrong(model: bytes, layers: Sequence[Layer], *, floats: bool) -> bytes:
        laid: Any = onnx.load_model_from_string(laid_out(model, layers, floats=floats))
        own = next(constant for constant in laid.graph.initializer if constant.name == "avx512/own")
        own.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(own)[:, ::-1], own.name))
        serialized: bytes = laid.SerializeToString()
        return serialized

    monkeypatch.setattr(service.engine, "laid_out", wrong)
    with pytest.raises(ModelError, match="golden inputs are answered wrong"):
        Engine(model_bytes, manifest, provider="cpu")
