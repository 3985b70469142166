"""Tests of what deploy/ has: manifests, compose files, and the proxy before the replicas."""
