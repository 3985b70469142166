"""Logs: one JSON event a line, with the id of the request that it belongs to, and silence by default."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx

from service.cpus import available_cpus
from tests.service.pictures import drawn, encode
from tests.service.serving import Process, process, run_service

PICTURE = encode(drawn())


def events(log: Path) -> list[dict[str, Any]]:
    """Every line, parsed: each has to be JSON with a level, a time and an event."""
    found = [json.loads(line) for line in log.read_text().splitlines()]
    for event in found:
        assert event["level"] and event["event"]
        assert datetime.fromisoformat(event["timestamp"]).utcoffset() is not None
    return found


def predict(url: str, request_id: str) -> int:
    """Sends a picture under an id."""
    headers = {"X-Request-ID": request_id}
    return httpx.post(f"{url}/v1/predict?seen=true", content=PICTURE, headers=headers, trust_env=False).status_code


def test_requests_leave_no_line_by_default(server: Process) -> None:
    """The hot path logs nothing, and neither does the parser of what is no multipart: the log is that of the start."""
    before = events(server.log)
    assert predict(server.url, "quiet") == 200
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    broken = httpx.post(f"{server.url}/v1/predict", content=b"--b\r\na b: c\r\n", headers=headers, trust_env=False)
    assert broken.status_code == 400
    assert events(server.log) == before
    opened = [event for event in before if event["event"] == "model open"]
    assert len(opened) == available_cpus()  # one a worker
    for event in opened:
        assert event["provider"] == "CPUExecutionProvider" and event["level"] == "info" and event["sha256"]


def test_the_access_log_has_the_request_id(tmp_path: Path) -> None:
    """Where it is asked for, each request is a line: its id, method, path, status and time, and no query."""
    with process(tmp_path / "log", "--provider", "cpu", "--access-log") as running:
        assert predict(running.url, "first") == 200
        assert (
            httpx.get(f"{running.url}/nothing", headers={"X-Request-ID": "second"}, trust_env=False).status_code == 404
        )
        assert running.end() == 0
    lines = {event["request_id"]: event for event in events(tmp_path / "log") if event["event"] == "request"}
    assert list(lines) == ["first", "second"]
    assert [lines["first"][name] for name in ("method", "path", "status")] == ["POST", "/v1/predict", 200]
    assert [lines["second"][name] for name in ("method", "path", "status")] == ["GET", "/nothing", 404]
    assert 0 < lines["first"]["seconds"] < 30


def test_the_level_is_a_setting() -> None:
    """With errors alone asked for, a start that fails says nothing but its errors."""
    quiet = run_service("--provider", "cpu", "--model-version", "999", "--log-level", "error")
    levels = [json.loads(line)["level"] for line in quiet.stderr.splitlines()]
    assert levels and set(levels) == {"error"}


def test_text_is_a_setting(tmp_path: Path) -> None:
    """For people a line is text, without colours where there is no terminal."""
    with process(tmp_path / "log", "--provider", "cpu", "--log-format", "text", "--access-log") as running:
        assert predict(running.url, "for-people") == 200
        running.end()
        text = running.log.read_text()
    assert "request_id=for-people" in text and "[info" in text
    assert "\x1b" not in text and not text.startswith("{")
