"""What is in deploy/ and what it has to agree with, as plain values."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import yaml

from tests.service.serving import ROOT

KUBERNETES = ROOT / "deploy" / "kubernetes"
DOCKERFILE = (ROOT / "Dockerfile").read_text()
HAPROXY = (ROOT / "deploy" / "haproxy.cfg").read_text()


def read(path: Path) -> dict[str, Any]:
    """The one document of a YAML file."""
    return cast("dict[str, Any]", yaml.safe_load(path.read_text()))


def compose(name: str) -> dict[str, Any]:
    """The services of a compose file."""
    return cast("dict[str, Any]", read(ROOT / name)["services"])


def pod(manifest: dict[str, Any]) -> dict[str, Any]:
    """The pod of a Deployment."""
    return cast("dict[str, Any]", manifest["spec"]["template"]["spec"])


def containers() -> Iterator[tuple[str, dict[str, Any]]]:
    """Each container of the manifests that is whole, by its file's name."""
    for path in (KUBERNETES / "base" / "deployment.yaml", KUBERNETES / "kserve" / "runtime.yaml"):
        manifest = read(path)
        (container,) = (pod(manifest) if manifest["kind"] == "Deployment" else manifest["spec"])["containers"]
        yield path.name, container


def in_dockerfile(pattern: str) -> str:
    """What the Dockerfile has, once and in one form, in the group of a pattern."""
    (found,) = set(re.findall(pattern, DOCKERFILE, re.MULTILINE))
    return cast("str", found)
