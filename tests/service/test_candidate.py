"""A version on its way to being served: each way in which it can be broken is found out, and said without a path."""

import os
from pathlib import Path

import numpy as np
import pytest

from benchmarks.candidates import KINDS, REASONS, Candidates
from service.candidate import open_version, reason
from service.errors import ModelError
from service.settings import Settings


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of models."""
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def candidates(models: Path) -> Candidates:
    """Versions by script."""
    return Candidates(models)


def refused(models: Path, version: int) -> str:
    """Why a version is refused, as anybody may know."""
    settings = Settings(models=models, provider="cpu")
    with pytest.raises(ModelError) as error:
        open_version(settings, str(version))
    said = reason(error.value, settings)
    assert str(models) not in said and "\n" not in said
    return said


def test_a_good_one_answers_as_it_must(models: Path, candidates: Candidates) -> None:
    """The versions that tests and benchmarks make are told apart by their logits, which are known beforehand."""
    candidates.make(3)
    engine = open_version(Settings(models=models, provider="cpu"), "3")
    logits, _ = engine.predict(candidates.images[:, None])
    np.testing.assert_allclose(logits, candidates.logits(3), atol=1e-4)
    assert np.abs(logits - candidates.logits(4)).max() > 0.1


@pytest.mark.parametrize("kind", KINDS)
def test_each_broken_one_is_refused_for_what_is_broken(models: Path, candidates: Candidates, kind: str) -> None:
    """And for nothing else."""
    candidates.make(5, kind)
    assert REASONS[kind] in refused(models, 5)


def test_nothing_leads_out_of_the_folder(models: Path, candidates: Candidates, tmp_path: Path) -> None:
    """Neither the version, nor any file in it, be it one that is only shown; within the folder links may lead."""
    folder = candidates.make(6)
    (tmp_path / "secret").write_text("secret")
    card = folder / "README.md"
    card.symlink_to(tmp_path / "secret")
    assert refused(models, 6) == "6/README.md leads out of the folder of models"
    card.unlink()
    folder.rename(models / "elsewhere")
    folder.symlink_to(models / "elsewhere")
    assert open_version(Settings(models=models, provider="cpu"), "6").healthy
    folder.unlink()
    (models / "elsewhere").rename(tmp_path / "outside")
    folder.symlink_to(tmp_path / "outside")
    assert refused(models, 6) == "6 leads out of the folder of models"
    folder.unlink()


def test_what_is_no_file_is_not_waited_for(models: Path, candidates: Candidates) -> None:
    """A pipe that nobody writes to would keep its reader for ever."""
    folder = candidates.make(7)
    (folder / "model.onnx").unlink()
    os.mkfifo(folder / "model.onnx")
    assert refused(models, 7) == "7/model.onnx is no file"
    (folder / "manifest.json").unlink()
    (folder / "manifest.json").mkdir()
    assert "manifest.json" in refused(models, 7)


def test_a_manifest_has_its_limit_too(models: Path, candidates: Candidates) -> None:
    """It is read whole, and so no more than a megabyte of it."""
    folder = candidates.make(8)
    with (folder / "manifest.json").open("a") as file:
        file.write(" " * 2**20)
    assert refused(models, 8) == "8/manifest.json is larger than the 1,048,576 bytes that are read"
