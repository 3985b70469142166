"""Headers of every answer of the service's own API: which model had a part in it, and what decided on its form."""

import httpx
import pytest

from service.manifest import Manifest
from tests.conftest import Mnist
from tests.service.pictures import encode

POSTED = [
    "/v1/features",
    "/v1/attribution",
    "/v1/trace?layer=fc1&channel=3",
    "/v1/ablate?layer=conv1",
    "/v1/neighbours",
]
GOT = ["/v1/model/layers/conv1/kernels", "/v1/model/layers/conv2/exemplars"]
NEGOTIATED = ("/v1/features", "/v1/attribution", "/v1/model/layers/conv1/kernels", "/v1/operators")


@pytest.mark.parametrize("path", [*POSTED, *GOT, "/v1/operators"])
@pytest.mark.parametrize("accept", ["application/json", "image/png", "application/x-npy"])
def test_every_answer_says_what_it_is_of(
    client: httpx.Client, mnist: Mnist, manifest: Manifest, path: str, accept: str
) -> None:
    """The model's name and hash wherever a model answers, and Vary wherever the Accept header is asked."""
    method = "GET" if path in GOT else "POST"
    content = None if path in GOT else encode(mnist.images[0])
    answer = client.request(method, path, headers={"Accept": accept}, content=content)
    assert answer.status_code == 200, answer.text
    negotiated = path in NEGOTIATED
    assert answer.headers["Content-Type"] == (accept if negotiated else "application/json")
    assert answer.headers.get("Vary") == ("Accept" if negotiated else None)
    named = {} if path == "/v1/operators" else {"model": f"digits/{manifest.version}", "sha256": manifest.sha256}
    for name in ("model", "sha256"):
        assert answer.headers.get(f"X-Digitscope-{name}") == named.get(name)
