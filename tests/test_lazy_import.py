"""`import hf_blink` is cheap, and every public name is found at first use."""

import ast
import inspect
import subprocess
import sys
from importlib import import_module

import pytest

import hf_blink

HEAVY = {"torch", "transformers", "datasets", "faiss", "numpy", "pyarrow", "huggingface_hub", "accelerate"}


def run_python(code: str) -> str:
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.parametrize("module", ["hf_blink", "hf_blink.cli", "hf_blink.default_encoder"])
def test_import_loads_no_heavy_library(module):
    loaded = run_python(f"import sys, {module}; print(*sorted({HEAVY!r} & set(sys.modules)))")
    assert loaded.split() == []


def test_import_takes_less_than_300_milliseconds():
    """Of CPU time, which other programs on the machine do not change."""
    code = "import time; start = time.process_time(); import hf_blink; print(time.process_time() - start)"
    assert min(float(run_python(code)) for _ in range(3)) < 0.3


@pytest.mark.parametrize("name", hf_blink.__all__)
def test_public_name_resolves(name):
    value = getattr(hf_blink, name)
    if name != "__version__":
        assert value.__name__ == name
        assert value.__module__ == hf_blink._MODULE_OF_NAME[name]


def test_name_is_the_object_of_its_module():
    assert hf_blink.Entity is import_module("hf_blink.modeling.linking_types").Entity
    assert "Entity" in vars(hf_blink)  # kept after the first use


def test_unknown_name_is_refused():
    with pytest.raises(AttributeError, match="'hf_blink' has no attribute 'Entty'"):
        hf_blink.Entty  # noqa: B018
    with pytest.raises(ImportError, match="cannot import name 'Entty'"):
        from hf_blink import Entty  # noqa: F401


def test_dir_and_star_import_hold_all_public_names():
    assert set(hf_blink.__all__) <= set(dir(hf_blink))
    assert len(set(hf_blink.__all__)) == len(hf_blink.__all__)


def test_type_checkers_see_the_same_table():
    tree = ast.parse(inspect.getsource(hf_blink))
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    seen = {
        alias.asname: node.module
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.asname == alias.name
    }
    assert seen == hf_blink._MODULE_OF_NAME
