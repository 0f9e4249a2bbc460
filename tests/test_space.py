"""The files of a Space, and its app in a process that has these files, the libraries, and no hf_blink."""

import ast
import os
import re
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

import pytest
from huggingface_hub import SpaceCard
from packaging.requirements import Requirement

from hf_blink.space import PAGE_FILES, space_files

ROOT = Path(__file__).resolve().parents[1]
MODEL = "some-org/my_linker-1.0"
PACKAGE_OF_MODULE = {"faiss": "faiss-cpu"}


def test_space_files_are_the_app_its_card_and_the_page():
    files = space_files(MODEL)
    assert sorted(files) == [
        "README.md", "app.py", "hf_blink/demo_app.py", "hf_blink/link_markup.py", "hf_blink/link_page.py",
        "hf_blink/link_style.py", "requirements.txt",
    ]  # fmt: skip
    assert f'os.environ.get("HF_BLINK_MODEL", "{MODEL}")' in files["app.py"].decode()
    assert not [
        name for name, content in files.items() if b"{{" in content and not name.startswith("hf_blink/")
    ]
    for name in PAGE_FILES:
        assert files[f"hf_blink/{name}"] == (ROOT / "hf_blink" / name).read_bytes()


def test_page_files_import_each_other_and_nothing_else_of_the_package():
    """Imports for type checkers, and those of `launch`, which the app does not call, do not count."""
    for name in PAGE_FILES:
        tree = ast.parse((ROOT / "hf_blink" / name).read_text("utf-8"))
        for node in tree.body:
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("hf_blink"):
                assert f"{(node.module or '').removeprefix('hf_blink.')}.py" in PAGE_FILES


def test_card_tells_the_sdk_that_was_tested_and_the_model():
    gradio = pytest.importorskip("gradio", reason="sdk_version was not compared: Gradio is not installed")
    card = SpaceCard(space_files(MODEL)["README.md"].decode())
    data = card.data.to_dict()
    assert data["sdk"] == "gradio" and data["sdk_version"] == gradio.__version__
    assert data["title"] == "Entity linking with my_linker-1.0"
    assert data["app_file"] == "app.py" and data["models"] == [MODEL]
    assert data["python_version"] == "3.11" and data["license"] == "mit"
    assert len(data["short_description"]) <= 60  # the Hub's limit
    assert f"https://huggingface.co/{MODEL}" in card.text


def test_card_of_a_repository_whose_name_is_a_number_stays_text():
    data = SpaceCard(space_files("1/2.0")["README.md"].decode()).data.to_dict()
    assert data["title"] == "Entity linking with 2.0" and data["models"] == ["1/2.0"]


def test_requirements_are_those_of_the_travelling_code_with_the_bounds_of_the_package():
    lines = space_files(MODEL)["requirements.txt"].decode().splitlines()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert set(lines) <= set(project["dependencies"])
    imported = set()
    for path in (ROOT / "modeling").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                imported.add((node.module or "").partition(".")[0])
    needed = {PACKAGE_OF_MODULE.get(name, name) for name in imported - sys.stdlib_module_names}
    assert needed <= {Requirement(line).name for line in lines}


@pytest.mark.parametrize("name", ["a/b/c", "org/na me", 'org/"x"', "org/x.git", "../name", "/name", "org/"])
def test_space_files_refuses_what_is_no_repository(name):
    with pytest.raises(ValueError, match=re.escape(repr(name))):
        space_files(name)


def test_space_files_asks_for_an_organisation():
    with pytest.raises(
        ValueError, match="expected the linker's repository as 'org/name', got 'quickstart-linker'"
    ):
        space_files("quickstart-linker")


@pytest.fixture
def repository(linker, tmp_path) -> Path:
    """A linker's folder with its code, as the Hub has it."""
    folder = tmp_path / "linker"
    linker.save_pretrained(folder)
    return folder


def test_the_app_runs_with_its_own_files_alone(repository, linker, gradio_process, open_page, tmp_path):
    pytest.importorskip("gradio", reason="the Space was not run: Gradio is not installed")
    space = tmp_path / "space"
    for name, content in space_files(MODEL).items():
        (space / name).parent.mkdir(parents=True, exist_ok=True)
        (space / name).write_bytes(content)
    # -S and PYTHONPATH: the installed libraries, but no .pth file, which could lead to hf_blink.
    libraries = os.pathsep.join({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")})
    environment = {
        **os.environ,
        "PYTHONPATH": libraries,
        "HF_BLINK_MODEL": str(repository),
        "HF_HOME": str(tmp_path / "hf-home"),
    }
    found = subprocess.run(
        [sys.executable, "-S", "-c", "import hf_blink.modeling"],
        cwd=space,
        env=environment,
        capture_output=True,
    )
    assert b"No module named 'hf_blink.modeling'" in found.stderr
    url, _ = gradio_process("-S", "app.py", cwd=space, env=environment)
    page = open_page(url)
    assert page.locator("h1").inner_text() == f"Entity linking with {repository}"
    page.get_by_label("Text, at most").fill("A town called Paris in Texas.")
    page.get_by_role("button", name="Link", exact=True).click()
    page.locator(".mention").click()
    (expected,) = linker.link("A town called Paris in Texas.")
    assert page.locator("#link-1 > .id").inner_text() == expected.entity.entity_id
    assert f"{expected.retrieval_score:.3f}" in page.locator("#link-1 > .raw").inner_text()
