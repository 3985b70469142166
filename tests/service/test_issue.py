"""The command that makes a key, and what a start says of keys."""

import re
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from service.issue import issue
from service.keyring import Keyring
from service.keys import find
from tests.service.keyed import KEYS, LINES, bearing
from tests.service.serving import ROOT, process, run_service

OPEN = (
    "service: whoever reaches 0.0.0.0 could ask this service for anything: name a file of API keys by --api-keys "
    "(python -m service keys new makes keys), or say --insecure where something else decides who reaches it\n"
)
EVERYWHERE = ("--host", "0.0.0.0")  # noqa: S104 — what it says then is what is tested


def test_a_key_is_made_with_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    """The line alone is on standard output, as for `>>`, and knows the key that standard error tells."""
    assert issue(["new", "alice", "--scopes", "predict,metrics", "--rate", "2.5"]) == 0
    told = capsys.readouterr()
    (key,) = Keyring(told.out).keys
    assert (key.name, sorted(key.scopes)) == ("alice", ["metrics", "predict"])
    assert key.bucket is not None and key.bucket.rate == 2.5
    secret = told.err.splitlines()[-1]
    assert find([key], secret.encode()) is key
    assert secret not in told.out and told.out.count("\n") == 1


def test_without_more_it_predicts_and_looks_inside(capsys: pytest.CaptureFixture[str]) -> None:
    """That is what the page needs; there is no limit, and nothing of the service's own counts."""
    assert issue(["new", "bob"]) == 0
    (key,) = Keyring(capsys.readouterr().out).keys
    assert (sorted(key.scopes), key.bucket) == (["inspect", "predict"], None)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["new", "a b"], "a name is to be"),
        (["new", "a", "--scopes", "root"], "scopes are to be of"),
        (["new", "a", "--rate", "0"], "a rate is to be"),
        (["new", "a", "--rate", "nan"], "a rate is to be"),
    ],
)
def test_what_no_key_can_be_is_refused(capsys: pytest.CaptureFixture[str], arguments: list[str], said: str) -> None:
    """With a sentence and the exit status 2, and no line."""
    assert issue(arguments) == 2
    told = capsys.readouterr()
    assert told.out == "" and said in told.err


def run_service_keys(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """A run of `python -m service keys`."""
    return subprocess.run(  # noqa: S603 — our own module
        [sys.executable, "-m", "service", "keys", *arguments], check=True, cwd=ROOT, capture_output=True, text=True
    )


def test_the_command_is_the_service_s_own(tmp_path: Path) -> None:
    """What it prints into a file, as the README has it, is what the service takes; the file's mode is warned of."""
    made = run_service_keys("new", "alice")
    file = tmp_path / "keys"
    file.write_text(f"{made.stdout}{LINES}\n", encoding="utf-8")
    file.chmod(0o644)
    secret = made.stderr.splitlines()[-1]
    with process(tmp_path / "log", "--provider", "cpu", "--workers", "2", "--api-keys", str(file)) as running:
        ask = {"trust_env": False, "timeout": 60}
        for headers, status in (({}, 401), ({"X-API-Key": secret}, 200), ({"X-API-Key": KEYS["metrics"]}, 403)):
            assert httpx.get(f"{running.url}/v1/model", headers=headers, **ask).status_code == status  # type: ignore[arg-type]
        prepared = {"Content-Type": "application/octet-stream"} | bearing("slow")
        asked = [
            httpx.post(f"{running.url}/v1/predict", content=bytes(784), headers=prepared, **ask)  # type: ignore[arg-type]
            for _ in range(12)  # connections of their own, which the kernel spreads among the workers
        ]
        assert sorted(answer.status_code for answer in asked) == [200] + [429] * 11
        assert "can be read or changed by others; chmod 600 keeps it from them" in running.log.read_text()
        assert secret not in running.log.read_text()


def test_beyond_this_machine_it_does_not_start_without_keys() -> None:
    """Whoever listens everywhere, as the image does, is told what to do, by the exit status of a wrong setting."""
    ended = run_service(*EVERYWHERE)
    assert (ended.returncode, ended.stdout, ended.stderr) == (2, "", OPEN)


@pytest.mark.parametrize(("flags", "variables"), [(("--insecure",), {}), ((), {"DIGITSCOPE_API_KEYS": LINES})])
def test_beyond_this_machine_it_starts_with_keys_or_when_told(
    tmp_path: Path, flags: tuple[str, ...], variables: dict[str, str]
) -> None:
    """It answers then, to all or to those with a key."""
    log = tmp_path / "log"
    flags = ("--provider", "cpu", "--workers", "1", *EVERYWHERE, *flags)
    with process(log, *flags, **variables) as running:
        answer = httpx.get(f"{running.url}/v1/model", trust_env=False)
        assert answer.status_code == (401 if variables else 200)


def test_keys_that_cannot_be_read_stop_the_start(tmp_path: Path) -> None:
    """With the file, the line and the problem, in one sentence."""
    file = tmp_path / "keys"
    file.write_text("alice\n", encoding="utf-8")
    ended = run_service("--api-keys", str(file))
    assert ended.returncode == 2
    assert re.fullmatch(rf"service: {file}, line 1: a line is to have .* 1 parts\n", ended.stderr), ended.stderr
