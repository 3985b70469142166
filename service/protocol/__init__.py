"""The Open Inference Protocol, version 2, over REST, with tensors as JSON or as bytes; and over gRPC.

Specification: https://github.com/kserve/open-inference-protocol, `specification/protocol/inference_rest.md`.
"""
