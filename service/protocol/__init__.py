"""The Open Inference Protocol, version 2, over REST with JSON tensors.

Specification: https://github.com/kserve/open-inference-protocol, `specification/protocol/inference_rest.md`.
"""
