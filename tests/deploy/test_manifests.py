"""The manifests as kustomize builds them are what Kubernetes and KServe take, to the last field."""

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.files import KUBERNETES, pod
from tests.service.serving import ROOT

pytestmark = pytest.mark.kubectl

PYTHON = ROOT / ".venv-clients" / "kserve" / "bin" / "python"
VERSIONS = ["1.31", "1.37"]
"""Of Kubernetes: the oldest and the newest that the manifests are held to."""
PLAIN = ["overlays/cpu", "overlays/gpu", "overlays/keys"]
OURS = {"Deployment", "HorizontalPodAutoscaler", "NetworkPolicy", "PodDisruptionBudget", "Service", "ServiceAccount"}
KINDS = {**dict.fromkeys(PLAIN, OURS), "kserve": {"InferenceService", "ServingRuntime"}}


def build(folder: Path) -> str:
    """What `kubectl apply -k` would send."""
    ran = subprocess.run(["kubectl", "kustomize", str(folder)], capture_output=True, text=True, check=False)  # noqa: S603, S607
    assert ran.returncode == 0 and not ran.stderr, ran.stderr  # it warns there of what it will not take any more
    return ran.stdout


def check(manifests: str) -> "subprocess.CompletedProcess[str]":
    """A run of `schemas.py` in the environment that has them."""
    assert PYTHON.exists(), "there is no environment for it: .ci/run makes it"
    command = [str(PYTHON), "-m", "tests.deploy.schemas", *VERSIONS]
    return subprocess.run(  # noqa: S603 — our own script
        command, cwd=ROOT, env=os.environ, input=manifests, capture_output=True, text=True, check=False
    )


def deployment(overlay: str) -> dict[str, Any]:
    """The one pod that an overlay has."""
    (found,) = [one for one in yaml.safe_load_all(build(KUBERNETES / overlay)) if one["kind"] == "Deployment"]
    return pod(found)


@pytest.mark.parametrize("folder", KINDS)
def test_manifests_keep_to_the_schemas(folder: str) -> None:
    """Each manifest of each overlay has only fields that its kind has, of the right types, and none is missing."""
    checked = check(build(KUBERNETES / folder))
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert set(checked.stdout.split()) == KINDS[folder]


@pytest.mark.parametrize(
    ("folder", "right", "wrong"),
    [
        ("overlays/cpu", "readOnlyRootFilesystem", "readOnlyRootFileSystem"),
        ("overlays/cpu", "minReplicas: 2", "minReplicas: two"),
        ("overlays/cpu", "egress: []", "egres: []"),
        ("kserve", "readOnlyRootFilesystem", "readOnlyRootFileSystem"),
        ("kserve", "supportedModelFormats", "modelFormats"),
        ("kserve", "minReplicas: 2", "minReplicas: two"),
        ("kserve", "seccompProfile", "seccomp"),
    ],
)
def test_what_is_wrong_is_refused(folder: str, right: str, wrong: str) -> None:
    """A field that is misspelt or of another type does not pass, so that passing means something."""
    manifests = build(KUBERNETES / folder)
    assert right in manifests
    checked = check(manifests.replace(right, wrong))
    assert checked.returncode == 1 and checked.stderr == "", checked.stdout + checked.stderr


def test_overlays_change_what_they_are_for() -> None:
    """The GPU overlay asks for a GPU and takes the image for it; that of the keys has them read, and nobody else."""
    cpu, gpu, keys = (deployment(overlay)["containers"][0] for overlay in PLAIN)
    assert "nvidia.com/gpu" not in cpu["resources"]["limits"] and cpu["image"] == keys["image"] == "digitscope:cpu"
    assert gpu["resources"]["limits"]["nvidia.com/gpu"] == "1" and gpu["image"] == "digitscope:gpu"
    apart = {"image", "resources", "startupProbe"}
    assert {key: cpu[key] for key in cpu.keys() - apart} == {key: gpu[key] for key in gpu.keys() - apart}
    assert {entry["name"] for entry in cpu["env"]} - {entry["name"] for entry in keys["env"]} == {"DIGITSCOPE_INSECURE"}
    (file,) = [entry["value"] for entry in keys["env"] if entry["name"] == "DIGITSCOPE_API_KEYS"]
    (mount,) = [mount for mount in keys["volumeMounts"] if mount not in cpu["volumeMounts"]]
    assert Path(file).parent == Path(mount["mountPath"]) and mount["readOnly"] is True
    assert mount["name"] in {volume["name"] for volume in deployment("overlays/keys")["volumes"] if "secret" in volume}
