"""Settings: flags, else the environment, else the default; one list of them, and no senseless value."""

import re
from pathlib import Path

import pytest
from pydantic import ValidationError
from pydantic_settings import CliApp

from service.settings import Settings
from tests.service.serving import run_service


def test_defaults_are_safe() -> None:
    """With nothing set it listens on this machine alone, and takes a GPU where one works."""
    settings = Settings()
    assert (settings.host, settings.port, settings.provider) == ("127.0.0.1", 8000, "auto")


def test_the_environment_beats_the_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every kind of value is read from a variable."""
    monkeypatch.setenv("DIGITSCOPE_PORT", "9000")
    monkeypatch.setenv("DIGITSCOPE_MODELS", "/srv/models")
    monkeypatch.setenv("DIGITSCOPE_ACCESS_LOG", "true")
    monkeypatch.setenv("DIGITSCOPE_PROVIDER", "cpu")
    settings = CliApp.run(Settings, cli_args=[])
    assert (settings.port, settings.models) == (9000, Path("/srv/models"))
    assert (settings.access_log, settings.provider) == (True, "cpu")


def test_flags_beat_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What stands on the command line counts; what does not, comes from the environment."""
    monkeypatch.setenv("DIGITSCOPE_PORT", "9000")
    monkeypatch.setenv("DIGITSCOPE_ACCESS_LOG", "true")
    monkeypatch.setenv("DIGITSCOPE_THREADS", "3")
    flags = ["--port", "9001", "--no-access-log", "--model-version=12", "--models", "a/b"]
    settings = CliApp.run(Settings, cli_args=flags)
    assert (settings.port, settings.access_log, settings.threads) == (9001, False, 3)
    assert (settings.model_version, settings.models) == ("12", Path("a/b"))


def test_an_empty_variable_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable that Compose passes on without a value leaves the default."""
    monkeypatch.setenv("DIGITSCOPE_PORT", "")
    assert Settings().port == 8000


def test_several_names_are_told_apart_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the command line, there also by the flag again, and in a variable."""
    monkeypatch.setenv("DIGITSCOPE_ALLOW_ORIGIN", "https://a.example, http://b.example:81")
    settings = CliApp.run(Settings, cli_args=["--allow-host", "a.example,b.example", "--allow-host", "c"])
    assert settings.allow_origin == ("https://a.example", "http://b.example:81")
    assert settings.allow_host == ("a.example", "b.example", "c")
    assert (Settings().allow_host, Settings().insecure, Settings().api_keys) == ((), False, None)


def test_settings_are_frozen() -> None:
    """Nobody changes them while the service runs."""
    with pytest.raises(ValidationError, match="frozen"):
        Settings().port = 1


def test_help_lists_every_setting() -> None:
    """Each flag is there with its description and its default, beside the prefix of the variables."""
    told = run_service("--help")
    assert told.returncode == 0 and told.stderr == ""
    text = re.sub(r"\s+", " ", told.stdout)
    assert "python -m service" in text and "DIGITSCOPE_PORT" in text
    for name, field in Settings.model_fields.items():
        assert f"--{name.replace('_', '-')}" in text
        assert field.description and field.description in text
        assert f"(default: {field.default})" in text


@pytest.mark.parametrize(
    ("flags", "name"),
    [
        (["--port", "70000"], "port"),
        (["--port", "http"], "port"),
        (["--provider", "tpu"], "provider"),
        (["--threads", "-1"], "threads"),
        (["--max-batch", "-1"], "max_batch"),
        (["--model-version", "0"], "model_version"),
        (["--model-version", "newest"], "model_version"),
        (["--model-name", "../secret"], "model_name"),
        (["--log-level", "loud"], "log_level"),
        (["--access-log", "perhaps"], "access-log"),
        (["--allow-origin", "https://lab.example/"], "allow_origin"),
        (["--allow-origin", "https://lab.example,lab.example"], "allow_origin"),
        (["--allow-origin", "https://Lab.example"], "allow_origin"),
        (["--colour", "red"], "--colour"),
    ],
)
def test_senseless_values_are_refused(flags: list[str], name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever is wrong is named before anything starts."""
    with pytest.raises((ValidationError, SystemExit)) as refusal:
        CliApp.run(Settings, cli_args=flags)
    assert name in (str(refusal.value) + capsys.readouterr().err)


@pytest.mark.parametrize(
    ("flags", "variables", "said"),
    [
        (("--port", "70000"), {}, "service: setting port: Input should be less than or equal to 65535\n"),
        ((), {"DIGITSCOPE_THREADS": "many"}, "service: setting threads: Input should be a valid integer"),
        (("--nonsense",), {}, "--nonsense"),
    ],
)
def test_a_wrong_setting_ends_the_process_with_a_sentence(
    flags: tuple[str, ...], variables: dict[str, str], said: str
) -> None:
    """The exit status is 2, as is usual, with the setting's name and the problem, and no traceback."""
    ended = run_service(*flags, **variables)
    assert ended.returncode == 2
    assert said in ended.stderr and "Traceback" not in ended.stderr
