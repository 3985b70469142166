"""What stands in deploy/monitoring: that it asks for what the service tells, and works in a real Prometheus."""

import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.conftest import Mnist
from tests.service.serving import ROOT, Process

MONITORING = ROOT / "deploy" / "monitoring"
DASHBOARD = json.loads((MONITORING / "grafana" / "dashboards" / "digitscope.json").read_text())
ALERTS = yaml.safe_load((MONITORING / "alerts.yml").read_text())
_VARIABLES = {"$instance": ".*", "$__rate_interval": "1m"}


def panels() -> dict[str, list[str]]:
    """What each panel of the dashboard asks Prometheus, as Grafana would send it; panels of one name together."""
    found: dict[str, list[str]] = {}
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", ()):
            expression = target["expr"]
            for name, value in _VARIABLES.items():
                expression = expression.replace(name, value)
            found.setdefault(panel["title"], []).append(expression)
    return found


def rules() -> Iterator[str]:
    """The expressions of all alerts and records."""
    for group in ALERTS["groups"]:
        yield from (rule["expr"] for rule in group["rules"])


def test_everything_that_is_asked_for_is_told(client: httpx.Client, mnist: Mnist) -> None:
    """Each metric that a panel or an alert names is one that the service exposes."""
    prepared = {"Content-Type": "application/octet-stream"}
    assert client.post("/v1/predict", content=mnist.images[0].tobytes(), headers=prepared).status_code == 200
    families = text_string_to_metric_families(client.get("/metrics").text)
    told = {sample.name for family in families for sample in family.samples}
    expressions = [*(each for asked in panels().values() for each in asked), *rules()]
    asked = {name for each in expressions for name in re.findall(r"\b(?:digitscope|process)_[a-z_]+\b(?!:)", each)}
    assert len(asked) > 15 and asked <= told


def test_panels_have_places_of_their_own() -> None:
    """No two panels overlap, none is beyond the grid's 24 columns, and each has an id of its own."""
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken
        taken |= cells
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)


@pytest.fixture
def prometheus(server: Process, tmp_path: Path) -> Iterator[httpx.Client]:
    """A real Prometheus with the configuration of deploy/monitoring, which asks the running service every second."""
    configuration = yaml.safe_load((MONITORING / "prometheus.yml").read_text())
    configuration["global"]["scrape_interval"] = configuration["global"]["evaluation_interval"] = "1s"
    configuration["scrape_configs"][0]["static_configs"] = [{"targets": [f"127.0.0.1:{server.port}"]}]
    shutil.copy(MONITORING / "alerts.yml", tmp_path)
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(configuration))
    with httpx.Client(trust_env=False) as finding, (tmp_path / "log").open("wb") as log:
        port = 29090
        popen = subprocess.Popen(  # noqa: S603 — Prometheus itself
            ["prometheus", "--config.file=prometheus.yml", f"--web.listen-address=127.0.0.1:{port}"],  # noqa: S607
            cwd=tmp_path,
            stderr=log,
        )
        try:
            finding.base_url = httpx.URL(f"http://127.0.0.1:{port}")
            _wait(finding, "up == 1", popen)
            yield finding
        finally:
            popen.terminate()
            popen.wait(30)


def _wait(prometheus: httpx.Client, expression: str, popen: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + 60
    while True:
        assert popen.poll() is None and time.monotonic() < deadline, "Prometheus does not find the service"
        try:
            if _ask(prometheus, expression):
                return
        except httpx.TransportError:
            pass
        time.sleep(0.2)


def _ask(prometheus: httpx.Client, expression: str) -> list[dict[str, object]]:
    answer = prometheus.get("/api/v1/query", params={"query": expression}).json()
    assert answer["status"] == "success", f"{expression}: {answer}"
    found: list[dict[str, object]] = answer["data"]["result"]
    return found


@pytest.mark.monitoring
def test_prometheus_takes_the_configuration_and_the_alerts() -> None:
    """Its promtool finds no fault in either, and each alert fires for what it is for and for nothing else."""
    for command in (("check", "config", "prometheus.yml"), ("test", "rules", "alerts.test.yml")):
        ran = subprocess.run(["promtool", *command], cwd=MONITORING, capture_output=True, text=True, check=False)  # noqa: S603, S607
        assert ran.returncode == 0, ran.stdout + ran.stderr
    tested = (MONITORING / "alerts.test.yml").read_text()
    alerts = [rule["alert"] for group in ALERTS["groups"] for rule in group["rules"] if "alert" in rule]
    assert len(alerts) >= 10 and all(re.search(rf"alertname: {alert}\s+exp_alerts", tested) for alert in alerts)


@pytest.mark.monitoring
def test_every_panel_shows_something(server: Process, prometheus: httpx.Client, mnist: Mnist) -> None:
    """Of a service that is asked for a while, each panel has values, those of what was not asked for alone excepted."""
    prepared = {"Content-Type": "application/octet-stream"}
    with httpx.Client(base_url=server.url, trust_env=False) as client:
        for round_ in range(6):
            for digit in mnist.images[round_ * 20 : round_ * 20 + 20]:
                client.post("/v1/predict", content=digit.tobytes(), headers=prepared)
            client.post("/v1/predict", content=bytes(784), headers=prepared)
            client.post("/v1/features?layer=conv1", content=mnist.images[0].tobytes(), headers=prepared)
            client.post("/v1/predict", content=b"no picture")
            time.sleep(1)
    for title, expressions in panels().items():
        for expression in expressions:
            values = _ask(prometheus, expression)
            assert values, f"{title}: {expression}"
            assert all(each["value"] != "NaN" for each in values)
    assert not _ask(prometheus, 'ALERTS{alertstate="firing"}')
