"""An application for each test of the client, which is opened and closed there, where others share one that stays."""

import pytest
from fastapi import FastAPI

from service.app import create_app
from service.settings import Settings
from tests.service.serving import MODELS


@pytest.fixture
def app() -> FastAPI:
    """The application, on the CPU."""
    return create_app(Settings(models=MODELS, provider="cpu"))
