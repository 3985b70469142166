"""The service over gRPC, in this process."""

from collections.abc import Iterator
from typing import NamedTuple

import httpx
import pytest

from service.app import create_app
from service.settings import Settings
from service.state import State
from tests.service.protocol.grpc.calling import Client, calling, free_port
from tests.service.serving import MODELS, serving


class Served(NamedTuple):
    """An application that runs, reached over gRPC and over HTTP, and its state."""

    grpc: Client
    http: httpx.Client
    state: State


@pytest.fixture(scope="session")
def served() -> Iterator[Served]:
    """The application in this process, where a test can reach into it."""
    port = free_port()
    app = create_app(Settings(models=MODELS, provider="cpu", grpc_port=port))
    with serving(app) as http, calling(port) as client:
        yield Served(client, http, app.state.digitscope)
