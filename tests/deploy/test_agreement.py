"""What deploy/ says of ports, paths, users, images, settings and times is what the image and the service have."""

import re
from typing import Any

import httpx
import pytest

from service import server
from service.app import create_app
from service.settings import Settings
from tests.deploy.files import DOCKERFILE, HAPROXY, KUBERNETES, compose, containers, in_dockerfile, pod, read
from tests.service.serving import MODELS, serving

PORT = int(in_dockerfile(r"^EXPOSE (\d+)"))
FILES = ["docker-compose.yml", "deploy/compose.replicas.yml"]
_ENDING = 2  # seconds beside the drain and the requests under way: the last connections, and the process itself


def _environment(container: dict[str, Any]) -> dict[str, str]:
    return {entry["name"]: entry["value"] for entry in container.get("env", ())}


def test_what_is_asked_for_is_answered() -> None:
    """Probes, scrapes and the proxy's check ask for paths that a service which is ready answers by 200."""
    probes = [
        container[probe]["httpGet"]["path"]
        for _, container in containers()
        for probe in ("startupProbe", "readinessProbe", "livenessProbe")
        if probe in container
    ]
    base, kserve = read(KUBERNETES / "base" / "deployment.yaml"), read(KUBERNETES / "kserve" / "runtime.yaml")
    scrapes = [
        base["spec"]["template"]["metadata"]["annotations"]["prometheus.io/path"],
        kserve["spec"]["annotations"]["prometheus.kserve.io/path"],
    ]
    checks = re.findall(r"option httpchk GET (\S+)", HAPROXY) + re.findall(r"GET (/v2/\S+) HTTP", DOCKERFILE)
    assert len(probes) == 5 and len(checks) == 2
    with serving(create_app(Settings(models=MODELS, provider="cpu"))) as client:
        for path in {*probes, *scrapes, *checks}:
            assert client.get(path).status_code == httpx.codes.OK, path


def test_one_port_is_named_everywhere() -> None:
    """The port that the image listens on is the one that is probed, published, balanced and allowed."""
    assert f"DIGITSCOPE_PORT={PORT}" in DOCKERFILE
    for name, container in containers():
        (port,) = container["ports"]
        assert port["containerPort"] == PORT, name
        asked = {container[probe]["httpGet"]["port"] for probe in ("readinessProbe", "livenessProbe")}
        assert asked == {port.get("name", PORT)}, name
    (served,) = read(KUBERNETES / "base" / "service.yaml")["spec"]["ports"]
    (rule,) = read(KUBERNETES / "base" / "network.yaml")["spec"]["ingress"]
    assert served["targetPort"] == rule["ports"][0]["port"] == "http"
    annotations = read(KUBERNETES / "base" / "deployment.yaml")["spec"]["template"]["metadata"]["annotations"]
    assert annotations["prometheus.io/port"] == str(PORT)
    assert read(KUBERNETES / "kserve" / "runtime.yaml")["spec"]["annotations"]["prometheus.kserve.io/port"] == str(PORT)
    (published,) = compose("docker-compose.yml")["digitscope"]["ports"]
    assert published.endswith(f":{PORT}")
    assert f" digitscope:{PORT} " in HAPROXY


def test_images_are_those_that_are_built() -> None:
    """The images of the manifests are named as compose builds them, from targets of the Dockerfile."""
    built = {}
    for path in [*FILES, "deploy/compose.gpu.yml"]:
        service = compose(path)["digitscope"]
        assert service["image"] == f"digitscope:{service['build']['target']}"
        assert re.search(rf"^FROM runtime AS {service['build']['target']}$", DOCKERFILE, re.MULTILINE)
        built[path] = service["image"]
    for name, container in containers():
        assert container["image"] == built["docker-compose.yml"], name
    for overlay, image in (("cpu", "docker-compose.yml"), ("gpu", "deploy/compose.gpu.yml")):
        (found,) = read(KUBERNETES / "overlays" / overlay / "kustomization.yaml")["images"]
        assert f"{found['name']}:{found['newTag']}" == built[image]


def test_settings_exist() -> None:
    """Each variable that is set for the service is a setting of it, with a value that it takes."""
    keys = read(KUBERNETES / "components" / "keys" / "deployment.yaml")
    found = {name: _environment(container) for name, container in containers()}
    found["keys"] = {
        entry["name"]: entry["value"] for entry in pod(keys)["containers"][0]["env"] if "$patch" not in entry
    }
    for path in FILES:
        found[path] = compose(path)["digitscope"].get("environment", {})
    assert sum(map(len, found.values())) >= 7
    for name, variables in found.items():
        for variable, value in variables.items():
            setting = variable.removeprefix("DIGITSCOPE_").lower()
            assert variable.startswith("DIGITSCOPE_") and setting in Settings.model_fields, f"{name}: {variable}"
            if setting != "api_keys":  # which is a file of the pod's
                Settings.model_validate({setting: value})


def test_kubernetes_overwrites_no_setting() -> None:
    """The addresses that Kubernetes puts into the environment of pods would be taken for settings, and are left out.

    Those of a Service `digitscope` are DIGITSCOPE_PORT and others.
    """
    assert pod(read(KUBERNETES / "base" / "deployment.yaml"))["enableServiceLinks"] is False
    assert read(KUBERNETES / "kserve" / "inferenceservice.yaml")["spec"]["predictor"]["enableServiceLinks"] is False


def test_there_is_time_to_end() -> None:
    """Who ends the service waits for its drain delay and its requests under way; a proxy learns of it meanwhile."""
    deployment = pod(read(KUBERNETES / "base" / "deployment.yaml"))
    predictor = read(KUBERNETES / "kserve" / "inferenceservice.yaml")["spec"]["predictor"]
    environments = dict(containers())
    for name, given in (("deployment.yaml", deployment), ("runtime.yaml", predictor)):
        drain = float(_environment(environments[name])["DIGITSCOPE_DRAIN_DELAY"])
        assert given["terminationGracePeriodSeconds"] >= drain + server._GRACE + _ENDING, name
    replica = compose("deploy/compose.replicas.yml")["digitscope"]
    drain = float(replica["environment"]["DIGITSCOPE_DRAIN_DELAY"])
    assert int(replica["stop_grace_period"].removesuffix("s")) >= drain + server._GRACE + _ENDING
    ((inter, fall),) = re.findall(r"check inter (\d+)ms downinter \d+ms fall (\d+)", HAPROXY)
    assert drain * 1000 >= 2 * int(inter) * int(fall)


@pytest.mark.parametrize("name", ["deployment.yaml", "runtime.yaml"])
def test_pods_may_do_nothing_beside_their_work(name: str) -> None:
    """Each pod keeps to Kubernetes' restricted profile, on a root that cannot be written, as the image's own user."""
    container = dict(containers())[name]
    base = read(KUBERNETES / "base" / "deployment.yaml")
    predictor = read(KUBERNETES / "kserve" / "inferenceservice.yaml")["spec"]["predictor"]
    given = pod(base) if name == "deployment.yaml" else predictor
    user, group = map(int, in_dockerfile(r"^USER (\d+:\d+)").split(":"))
    context = given["securityContext"]
    assert (context["runAsUser"], context["runAsGroup"], context["runAsNonRoot"]) == (user, group, True)
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert given["automountServiceAccountToken"] is False
    assert [mount["mountPath"] for mount in container["volumeMounts"]] == ["/tmp"]  # noqa: S108
    assert not {"hostNetwork", "hostPID", "hostIPC"} & given.keys()


def test_replicas_are_as_safe_as_one() -> None:
    """The replicas have what the one service of compose has, but a port of their own; the proxy may do as little."""
    one = compose("docker-compose.yml")["digitscope"]
    both = compose("deploy/compose.replicas.yml")
    apart = {"build", "ports", "environment", "scale", "stop_grace_period"}
    assert {key: value for key, value in both["digitscope"].items() if key not in apart} == {
        key: value for key, value in one.items() if key not in apart
    }
    assert "ports" not in both["digitscope"] and both["proxy"]["ports"] == one["ports"]
    for key in ("read_only", "cap_drop", "security_opt"):
        assert both["proxy"][key] == one[key]
    assert both["proxy"]["user"] not in ("0", "0:0", "root")


def test_everything_is_about_one_thing() -> None:
    """Service, autoscaler, disruption budget and network policy select the pods of the Deployment."""
    base = {
        path.stem: read(path).get("spec", {})
        for path in (KUBERNETES / "base").glob("*.yaml")
        if path.stem != "kustomization"
    }
    labels = base["deployment"]["template"]["metadata"]["labels"]
    selectors = [
        base["deployment"]["selector"]["matchLabels"],
        base["service"]["selector"],
        base["disruption"]["selector"]["matchLabels"],
        base["network"]["podSelector"]["matchLabels"],
        *(
            spread["labelSelector"]["matchLabels"]
            for spread in pod({"spec": base["deployment"]})["topologySpreadConstraints"]
        ),
    ]
    assert labels and all(selector == labels for selector in selectors)
    assert (
        base["autoscaler"]["scaleTargetRef"]["name"]
        == read(KUBERNETES / "base" / "deployment.yaml")["metadata"]["name"]
    )
    assert "replicas" not in base["deployment"]
    model = read(KUBERNETES / "kserve" / "inferenceservice.yaml")
    assert (MODELS / model["metadata"]["name"]).is_dir()  # KServe's clients ask for the model by the service's name
