import importlib
import sys
from pathlib import Path

import pytest

from hf_blink import default_encoder as module
from hf_blink.default_encoder import default_encoder


@pytest.fixture
def package(tmp_path, monkeypatch) -> Path:
    """An importable package without a model; importing it fails, for nobody may import it."""
    folder = tmp_path / "packaged_weights"
    folder.mkdir()
    (folder / "__init__.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(module, "DEFAULT_ENCODER_PACKAGE", "packaged_weights")
    importlib.invalidate_caches()
    return folder


def test_default_encoder_is_the_model_folder_of_the_package(package):
    (package / "model").mkdir()
    (package / "model" / "config.json").write_text("{}")
    assert default_encoder() == str(package / "model")
    assert "packaged_weights" not in sys.modules


def test_default_encoder_without_model_or_package_names_the_extra(package, monkeypatch):
    with pytest.raises(FileNotFoundError, match=r"hf_blink\[quickstart\].*--encoder"):
        default_encoder()
    monkeypatch.setattr(module, "DEFAULT_ENCODER_PACKAGE", "no_such_package_anywhere")
    with pytest.raises(FileNotFoundError, match=r"hf_blink\[quickstart\].*--encoder"):
        default_encoder()
