"""Which versions are served, after which changes."""

from pathlib import Path

import pytest

from service.errors import VersionError
from service.manifest import MANIFEST_FILE
from service.serving import Change, Serving, check, first
from service.settings import Settings
from service.watch import Watch


def test_the_current_version_is_replaced_and_those_beside_it_stay() -> None:
    """One that was asked for to be served beside is served whether it is the current one or not."""
    serving = Serving("2", ("1", "2"))
    assert serving.versions == ("2", "1")
    newer = serving.after(Change("load", "3"))
    assert newer.versions == ("3", "1", "2")
    assert newer.after(Change("load", "1")).versions == ("1", "2")
    assert newer.after(Change("unload", "2")).versions == ("3", "1")
    assert Serving("2").after(Change("load", "3")).versions == ("3",)
    assert Serving("2").after(Change("load", "3", current=False)).versions == ("2", "3")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (Change("unload", "2"), "version 2 answers what names no version: load another one first"),
        (Change("unload", "9"), "version 9 is not loaded"),
        (Change("load", "9"), "at most 4 versions are served at once: unload one first"),
        (Change("load", "9", current=False), "at most 4 versions are served at once: unload one first"),
    ],
)
def test_what_cannot_be_is_refused(change: Change, said: str) -> None:
    """With four that are to stay there is no place for another."""
    serving = Serving("2", ("1", "2", "3", "4"))
    with pytest.raises(VersionError) as refused:
        serving.after(change)
    assert str(refused.value) == said


def test_why_a_version_is_refused_is_kept_until_it_is_loaded() -> None:
    """And other changes leave it as it is."""
    serving = Serving("1").without("2", "broken")
    assert serving.refused == {"2": "broken"}
    assert serving.after(Change("load", "3")).refused == {"2": "broken"}
    assert serving.after(Change("load", "2")).refused == {}


def version(models: Path, number: int, content: str = "{}") -> None:
    """A folder with a manifest, which says nothing."""
    folder = models / "digits" / str(number)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MANIFEST_FILE).write_text(content)


def test_what_is_served_at_first(tmp_path: Path) -> None:
    """The newest version or that which is named, and those beside it."""
    version(tmp_path, 2)
    version(tmp_path, 10)
    assert first(Settings(models=tmp_path)) == Serving("10")
    assert first(Settings(models=tmp_path, model_version="2", serve_versions="10,2")) == Serving("2", ("10", "2"))
    with pytest.raises(VersionError, match="at most 4"):
        first(Settings(models=tmp_path, serve_versions="1,2,3,4"))


def test_only_what_is_there_is_tried(tmp_path: Path) -> None:
    """A version without a folder, and one more change than may wait, are refused before anything is begun."""
    version(tmp_path, 2)
    settings = Settings(models=tmp_path)
    check(Change("load", "2"), Serving("1"), settings, waiting=15)
    with pytest.raises(VersionError, match=r"^there is no version 3 in the folder of models$"):
        check(Change("load", "3"), Serving("1"), settings, waiting=0)
    with pytest.raises(VersionError, match=r"^16 changes wait already, and no more may$"):
        check(Change("load", "2"), Serving("1"), settings, waiting=16)


def test_a_newer_version_is_seen_once(tmp_path: Path) -> None:
    """When its manifest appears or is another, and again when what is wrong with it may have been mended."""
    version(tmp_path, 2)
    watch = Watch(Settings(models=tmp_path), "2")
    assert watch.newer("2") is None
    (tmp_path / "digits" / "3").mkdir()
    assert watch.newer("2") is None
    version(tmp_path, 3)
    assert [watch.newer("2"), watch.newer("2")] == ["3", None]
    (tmp_path / "digits" / "3" / "model.onnx").write_bytes(b"the rest of it")
    assert [watch.newer("2"), watch.newer("2")] == ["3", None]
    version(tmp_path, 1)
    assert watch.newer("3") is None
    version(tmp_path, 2, "{ }")
    assert watch.newer("3") is None


def test_what_came_while_the_service_began_is_seen(tmp_path: Path) -> None:
    """It is newer than what is served, and nobody has looked at it."""
    version(tmp_path, 2)
    version(tmp_path, 3)
    watch = Watch(Settings(models=tmp_path), "2")
    assert [watch.newer("2"), watch.newer("2")] == ["3", None]


def test_a_version_that_is_pinned_is_not_watched() -> None:
    """The two settings contradict each other."""
    with pytest.raises(ValueError, match="only with --model-version latest"):
        Settings(model_version="2", watch=True)
