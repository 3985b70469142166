"""The Open Inference Protocol, version 2, over gRPC; in an extra of its own, and imported only where it is asked for.

Specification: https://github.com/kserve/open-inference-protocol, `specification/protocol/inference_grpc.md`; the
extensions of https://github.com/triton-inference-server/server/tree/main/docs/protocol have their methods too.
"""

import os

# gRPC's core writes a line to standard error, past all loggers, whenever a stranger sends what it does not take.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

METHODS = (
    "ServerLive",
    "ServerReady",
    "ModelReady",
    "ServerMetadata",
    "ModelMetadata",
    "ModelInfer",
    "ModelStreamInfer",
    "ModelConfig",
    "ModelStatistics",
    "RepositoryIndex",
    "RepositoryModelLoad",
    "RepositoryModelUnload",
)
"""What is answered, by the names in `inference.proto`."""

ROUTES = {method: f"grpc:{method}" for method in METHODS}
"""What each is counted as."""
