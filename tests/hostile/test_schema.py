"""Requests that schemathesis makes of the service's own OpenAPI document, to a running service."""

import subprocess
from pathlib import Path

import pytest

from tests.service.serving import ROOT, process

_SCHEMATHESIS = ROOT / ".venv-fuzz" / "bin" / "schemathesis"


@pytest.mark.fuzz
def test_every_route_and_method_keeps_to_the_document(tmp_path: Path) -> None:
    """Whatever is sent, right or wrong, no answer is a failure, and each is of a documented status, type and form.

    What is left out is that all that fits the document is to be accepted: no schema can say what a picture is.
    """
    with process(tmp_path / "log", "--provider", "cpu", "--max-wait", "60000") as running:
        command = (
            *(str(_SCHEMATHESIS), "run", f"{running.url}/openapi.json"),
            *("--exclude-checks", "positive_data_acceptance", "--max-examples", "30", "--continue-on-failure"),
        )
        ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)  # noqa: S603
        assert ran.returncode == 0, ran.stdout[-8000:]
        assert "request failed" not in running.log.read_text()
