"""`POST /v1/ablate`: answers with channels silenced, against PyTorch's hooks."""

from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from service.manifest import Manifest
from tests.conftest import Mnist
from tests.service.pictures import drawn, encode
from tests.service.refusals import refused
from training.checkpoint import load_checkpoint


def ask(client: httpx.Client, image: NDArray[np.uint8], **query: Any) -> Any:
    """The JSON for a digit that is taken as it is."""
    answer = client.post("/v1/ablate", params={"preprocess": "none", **query}, content=encode(image))
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.mark.parametrize(
    ("layer", "module", "channels"),
    [("conv1", "norm1", [3]), ("conv2", "norm2", [5, 6]), ("conv2", "norm2", list(range(16))), ("fc1", "fc1", [599])],
)
def test_the_answer_is_pytorch_s_with_a_hook(
    client: httpx.Client, mnist: Mnist, model_folder: Path, layer: str, module: str, channels: list[int]
) -> None:
    """A hook that zeroes the channels of the unfolded network gives the same logits, digit and difference."""
    checkpoint = load_checkpoint(model_folder / "checkpoint.safetensors")
    image = mnist.images[115]  # a 4 that is nearly a 9
    pixels = torch.from_numpy(image[None, None].astype(np.float32))

    def silence(_module: Any, _inputs: Any, output: torch.Tensor) -> torch.Tensor:
        silenced = output.clone()
        silenced[:, channels] = 0
        return silenced

    with torch.no_grad():
        before = checkpoint.network(pixels)[0] / checkpoint.temperature
        getattr(checkpoint.network, module).register_forward_hook(silence)
        after = checkpoint.network(pixels)[0] / checkpoint.temperature
    body = ask(client, image, layer=layer, channels=",".join(map(str, channels)))
    (silenced,) = body["silenced"]
    assert silenced["channels"] == channels
    for found, expected in ((body["before"], before), (silenced, after)):
        np.testing.assert_allclose(found["logits"], expected, atol=1e-4)
        np.testing.assert_allclose(found["probabilities"], torch.softmax(expected, 0), atol=1e-5)
        assert found["digit"] == int(expected.argmax())
    np.testing.assert_allclose(silenced["difference"], after - before, atol=1e-4)


@pytest.mark.parametrize(("layer", "count"), [("conv1", 8), ("pool2", 32), ("fc1", 600)])
def test_without_channels_each_is_silenced_alone(client: httpx.Client, mnist: Mnist, layer: str, count: int) -> None:
    """One item a channel, in order, and the same as when it is asked for by its number."""
    body = ask(client, mnist.images[0], layer=layer)
    assert list(body) == ["model", "layer", "before", "silenced"] and body["layer"] == layer
    assert list(body["before"]) == ["logits", "probabilities", "digit"]
    assert [item["channels"] for item in body["silenced"]] == [[channel] for channel in range(count)]
    (alone,) = ask(client, mnist.images[0], layer=layer, channels=count - 1)["silenced"]
    assert list(alone) == ["channels", "logits", "probabilities", "digit", "difference"]
    np.testing.assert_allclose(alone["logits"], body["silenced"][-1]["logits"], atol=1e-5)


def test_channels_are_asked_for_as_everywhere(client: httpx.Client, mnist: Mnist) -> None:
    """By ranges, and by a parameter that comes several times."""
    listed = ask(client, mnist.images[5], layer="conv2", channels="0,1,2,3,9")
    assert listed["silenced"][0]["channels"] == [0, 1, 2, 3, 9]
    for asked in ("9,0-3", ["9", "0-1,2", "3"]):
        assert ask(client, mnist.images[5], layer="conv2", channels=asked) == listed


def test_the_last_convolution_is_the_default(client: httpx.Client, manifest: Manifest) -> None:
    """A drawing with nothing asked for: each of its 32 channels."""
    body = client.post("/v1/ablate", content=encode(drawn())).json()
    assert body["model"] == {"name": "digits", "version": manifest.version}
    assert (body["layer"], len(body["silenced"]), body["before"]["digit"]) == ("conv2", 32, 7)


@pytest.mark.parametrize(
    ("query", "status", "sentence"),
    [
        ({"layer": "conv9"}, 404, "no layer 'conv9'; it has conv1, "),
        (
            {"layer": "logits"},
            404,
            "layer logits is the answer itself and cannot be silenced; it is to be one of conv1",
        ),
        ({"layer": "conv1,conv2"}, 404, "no layer 'conv1,conv2'"),
        ({"channels": "32"}, 400, "channels: conv2 has 0 to 31, and 32 is asked for"),
        ({"channels": "1,x"}, 400, "channels: 'x' is neither a number nor a range such as 5-7"),
        ({"channels": ""}, 400, "channels: '' is neither a number nor a range"),
        ({"preprocess": "x"}, 400, "preprocess: "),
    ],
)
def test_what_cannot_be_silenced_is_refused(
    client: httpx.Client, mnist: Mnist, query: dict[str, str], status: int, sentence: str
) -> None:
    """Each wrong request gets its status and a sentence."""
    answer = client.post("/v1/ablate", params={"preprocess": "none"} | query, content=encode(mnist.images[0]))
    assert sentence in refused(answer, status)


def test_bodies_that_are_no_picture_are_refused(client: httpx.Client, mnist: Mnist) -> None:
    """None, several, and no picture at all."""
    assert "no body" in refused(client.post("/v1/ablate"), 400)
    refused(client.post("/v1/ablate", content=b"hello"), 415)
    headers = {"Content-Type": "application/octet-stream"}
    answer = client.post("/v1/ablate", content=mnist.images[:3].tobytes(), headers=headers)
    assert refused(answer, 400) == "one picture is taken at a time, and 3 were sent"
