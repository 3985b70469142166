"""What a key may be for, and which of that each route asks for: the one table of it.

A route that is not in the table asks for `admin`, so that one which somebody forgets is closed and not open; a test
finds it.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

Scope = Literal["predict", "inspect", "metrics", "admin"]
SCOPES: tuple[Scope, ...] = ("predict", "inspect", "metrics", "admin")
"""Predictions; what is inside the network, and what it is; what is counted; what changes the service."""

OPEN: frozenset[Scope] = frozenset()
_PREDICT: frozenset[Scope] = frozenset({"predict"})
_INSPECT: frozenset[Scope] = frozenset({"inspect"})
_METRICS: frozenset[Scope] = frozenset({"metrics"})
_ADMIN: frozenset[Scope] = frozenset({"admin"})
_ABOUT: frozenset[Scope] = frozenset({"predict", "inspect"})  # what clients ask before they predict

NEEDED: Mapping[str, frozenset[Scope]] = MappingProxyType(
    {
        "/v1/predict": _PREDICT,
        "/v2/models/{model}/infer": _PREDICT,
        "/v2/models/{model}/versions/{version}/infer": _PREDICT,
        "/v1/features": _INSPECT,
        "/v1/operators": _INSPECT,
        "/v1/trace": _INSPECT,
        "/v1/neighbours": _INSPECT,
        "/v1/attribution": _INSPECT,
        "/v1/ablate": _INSPECT,
        "/v1/model": _ABOUT,
        "/v1/model/layers": _INSPECT,
        "/v1/model/layers/{layer}/kernels": _INSPECT,
        "/v1/model/layers/{layer}/exemplars": _INSPECT,
        "/v1/model/card": _INSPECT,
        "/v1/model/card/{picture}.png": _INSPECT,
        "/v2": _ABOUT,
        "/v2/models/{model}": _ABOUT,
        "/v2/models/{model}/versions/{version}": _ABOUT,
        "/v2/models/{model}/config": _ABOUT,
        "/v2/models/{model}/versions/{version}/config": _ABOUT,
        "/v2/repository/index": _INSPECT,
        "/v2/repository/models/{model}/load": _ADMIN,
        "/v2/repository/models/{model}/unload": _ADMIN,
        "/metrics": _METRICS,
        "/v2/models/stats": _METRICS,
        "/v2/models/{model}/stats": _METRICS,
        "/v2/models/{model}/versions/{version}/stats": _METRICS,
        # Open: what whoever starts and watches the service asks, and what is the same for everybody and on every disk.
        "/v2/health/live": OPEN,
        "/v2/health/ready": OPEN,
        "/v2/models/{model}/ready": OPEN,
        "/v2/models/{model}/versions/{version}/ready": OPEN,
        "/": OPEN,
        "/palettes.json": OPEN,
        "/docs": OPEN,
        "/openapi.json": OPEN,
        "/static/{path:path}": OPEN,
        "grpc:ServerLive": OPEN,
        "grpc:ServerReady": OPEN,
        "grpc:ModelReady": OPEN,
        "grpc:ServerMetadata": _ABOUT,
        "grpc:ModelMetadata": _ABOUT,
        "grpc:ModelConfig": _ABOUT,
        "grpc:ModelInfer": _PREDICT,
        "grpc:ModelStreamInfer": _PREDICT,
        "grpc:ModelStatistics": _METRICS,
        "grpc:RepositoryIndex": _INSPECT,
        "grpc:RepositoryModelLoad": _ADMIN,
        "grpc:RepositoryModelUnload": _ADMIN,
    }
)
"""By a route's template the scopes of which a key is to have any; of none, no key is needed."""


def needed(route: str) -> frozenset[Scope]:
    """The scopes of which a key is to have any for a route."""
    return NEEDED.get(route, _ADMIN)
