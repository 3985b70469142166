"""Every error of the service as a status of gRPC."""

from typing import Any

import grpc
import pytest

from service.errors import DigitscopeError, RequestError
from service.protocol.grpc.codes import CODES
from service.refusal import FAILURE, STATUSES
from tests.conftest import Mnist
from tests.service.protocol.grpc.calling import asking
from tests.service.protocol.grpc.conftest import Served

_CALLERS = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
}


def test_every_error_has_its_code() -> None:
    """The table knows the errors that HTTP's knows, and none besides; what the caller can mend is told apart."""
    assert set(CODES) == set(STATUSES)
    for kind, code in CODES.items():
        assert (code in _CALLERS) == issubclass(kind, RequestError)


def _raising(error: Exception) -> Any:
    async def predict(*_: Any, **__: Any) -> Any:
        raise error

    return predict


def _counted(served: Served, line: str) -> float:
    text = served.http.get("/metrics").text
    return sum(float(found.rpartition(" ")[2]) for found in text.splitlines() if found.startswith(line))


@pytest.mark.parametrize("kind", list(CODES))
def test_an_error_reaches_the_caller(
    served: Served, mnist: Mnist, monkeypatch: pytest.MonkeyPatch, kind: type[DigitscopeError]
) -> None:
    """Its code and its sentence do, whatever letters it has, and it is counted as HTTP's would be."""
    monkeypatch.setattr(served.state.loaded, "predict", _raising(kind("it went wrong at −1")))
    line = f'digitscope_requests_total{{method="POST",route="grpc:ModelInfer",status="{STATUSES[kind]}"}}'
    before = _counted(served, line)
    with pytest.raises(grpc.RpcError) as raised:
        served.grpc.call("ModelInfer", asking(mnist.images[:1]))
    assert (raised.value.code(), raised.value.details()) == (CODES[kind], "it went wrong at −1")
    told = dict(raised.value.trailing_metadata())
    expected = "1000" if STATUSES[kind] in (429, 503) else None  # where HTTP has Retry-After
    assert told.get("grpc-retry-pushback-ms") == expected
    assert _counted(served, line) == before + 1


def test_a_refusal_is_counted_by_its_reason(served: Served) -> None:
    """What is refused over gRPC is in the count of refusals too."""
    line = 'digitscope_refusals_total{reason="Malformed"}'
    before = _counted(served, line)
    with pytest.raises(grpc.RpcError):
        served.grpc.call("ModelInfer", b"\xff\xff\xff")
    assert _counted(served, line) == before + 1


def test_what_nobody_thought_of_is_internal(served: Served, mnist: Mnist, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error that is none of the service's own tells nothing of its inside, and ends nothing."""
    with monkeypatch.context() as patched:
        patched.setattr(served.state.loaded, "predict", _raising(ZeroDivisionError("secret")))
        with pytest.raises(grpc.RpcError) as raised:
            served.grpc.call("ModelInfer", asking(mnist.images[:1]))
    assert (raised.value.code(), raised.value.details()) == (grpc.StatusCode.INTERNAL, FAILURE)
    served.grpc.call("ModelInfer", asking(mnist.images[:1]))
