"""The wheel and the source archive hold the whole package and nothing else, and the wheel works by itself.

Built from a copy of the checkout, so that nothing is written into it; without a network.
"""

import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from importlib.metadata import distribution, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import hf_blink

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = {
    "hf_blink": "hf_blink",
    "modeling": "hf_blink/modeling",
    "training": "hf_blink/training",
    "hub_cards": "hf_blink/hub_cards",
}
LINKS = ("modeling", "training", "hub_cards")
IMPORT_ALL = """
import importlib, pkgutil, sys
import hf_blink
names = [module.name for module in pkgutil.walk_packages(hf_blink.__path__, "hf_blink.")]
for name in ["hf_blink", *(name for name in names if not name.endswith("__main__"))]:
    print(importlib.import_module(name).__file__)
"""
IMPORT_STATEMENT = "from hf_blink import EntityLinker; from transformers.pipelines import check_task"


def run(*command: object, **options) -> str:
    result = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=280, **options)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def package_files() -> set[str]:
    """The path in the wheel of every file of the four folders, whatever its kind."""
    return {
        f"{target}/{path.relative_to(ROOT / folder).as_posix()}"
        for folder, target in FOLDERS.items()
        for path in (ROOT / folder).rglob("*")
        if path.is_file()
        and "__pycache__" not in path.parts
        and not (folder == "hf_blink" and path.relative_to(ROOT / folder).parts[0] in LINKS)
    }


def wheel_names(path: Path) -> set[str]:
    with zipfile.ZipFile(path) as wheel:
        names = wheel.namelist()
    assert len(names) == len(set(names))
    return set(names)


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    """A copy of the checkout: the files of the root and the folders that belong to the project."""
    target = tmp_path_factory.mktemp("source") / "checkout"
    target.mkdir()
    for path in ROOT.iterdir():
        if path.is_file():
            shutil.copy(path, target)
        elif path.name in (*FOLDERS, "tests", "docs", "benchmarks"):
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(path, target / path.name, symlinks=True, ignore=ignored)
    return target


@pytest.fixture(scope="module")
def distributions(source, tmp_path_factory) -> tuple[Path, Path]:
    """The source archive, and the wheel that is built from it."""
    out = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", out, source)
    (archive,) = out.glob("*.tar.gz")
    (wheel,) = out.glob("*.whl")
    return archive, wheel


@pytest.fixture(scope="module")
def installed(distributions, tmp_path_factory) -> Path:
    """The Python of a fresh environment that has the wheel, and borrows the dependencies of this one.

    The borrowed folder is only searched: its .pth files are not read, so an editable install stays out.
    """
    folder = tmp_path_factory.mktemp("installed") / "environment"
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin" / "python"
    site_packages = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    borrowed = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (site_packages / "borrowed.pth").write_text("".join(f"{path}\n" for path in sorted(borrowed)))
    offline = ("--no-index", "--no-deps", "--ignore-installed", "--quiet", "--disable-pip-version-check")
    run(sys.executable, "-m", "pip", "--python", python, "install", *offline, distributions[1])
    return python


def test_wheel_holds_the_package_and_nothing_else(distributions):
    names = wheel_names(distributions[1])
    info = f"hf_blink-{hf_blink.__version__}.dist-info/"
    assert {name for name in names if not name.startswith(info)} == package_files()
    assert f"{info}licenses/LICENSE" in names
    assert f"{info}entry_points.txt" in names


def test_wheel_holds_the_files_that_are_no_code(distributions):
    names = wheel_names(distributions[1])
    assert "hf_blink/py.typed" in names
    for pattern in (r"hf_blink/data/.+\.jsonl(\.gz)?", r"hf_blink/training/recipes/.+\.yaml"):
        assert any(re.fullmatch(pattern, name) for name in names), pattern


def test_wheel_of_the_checkout_equals_the_wheel_of_the_archive(source, distributions, tmp_path):
    run(sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", tmp_path, source)
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel_names(wheel) == wheel_names(distributions[1])


def test_source_archive_holds_what_building_and_testing_need(distributions):
    with tarfile.open(distributions[0]) as archive:
        members = archive.getmembers()
    assert not [member.name for member in members if member.issym() or member.islnk()]
    names = {member.name.partition("/")[2] for member in members}
    wanted = {
        "setup.py",
        "pyproject.toml",
        "constraints.txt",
        "Makefile",
        "README.md",
        "LICENSE",
        "CHANGELOG.md",
    }
    wanted |= {f"tests/{path.name}" for path in (ROOT / "tests").glob("*.py")}
    wanted |= {path.removeprefix("hf_blink/") for path in package_files() if path.split("/")[1] in LINKS}
    assert wanted <= names


def test_installed_wheel_imports_every_module_from_outside_the_checkout(installed, tmp_path):
    files = set(run(installed, "-c", IMPORT_ALL, cwd=tmp_path).split("\n")) - {""}
    root = installed.parent.parent
    assert all(Path(file).is_relative_to(root) for file in files)
    no_modules = ("hf_blink/__main__.py", "hf_blink/hub_cards/space/app.py")  # the app is a file for the Hub
    code = {name for name in package_files() if name.endswith(".py") and name not in no_modules}
    assert {file[file.index("/hf_blink/") + 1 :] for file in files} == code


def test_installed_wheel_has_the_command_and_registers_the_task(installed, tmp_path):
    assert "quickstart" in run(installed.parent / "hf-blink", "--help", cwd=tmp_path)
    code = f"{IMPORT_STATEMENT}; print(check_task('entity-linking')[0])"
    assert run(installed, "-c", code, cwd=tmp_path).strip() == "entity-linking"


def test_versions_agree(distributions):
    assert distributions[1].name == f"hf_blink-{hf_blink.__version__}-py3-none-any.whl"
    assert f"## [{hf_blink.__version__}]" in (ROOT / "CHANGELOG.md").read_text("utf-8")


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="the links are in a checkout only")
@pytest.mark.parametrize("name", LINKS)
def test_checkout_has_relative_links(name):
    link = ROOT / "hf_blink" / name
    assert link.is_symlink()
    assert link.readlink() == Path("..") / name


def test_constraints_pin_every_package_that_is_needed(distributions, tmp_path):
    pins = {}
    for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines():
        if line and not line.startswith("#"):
            requirement = Requirement(line)
            pins[canonicalize_name(requirement.name)] = str(requirement.specifier).removeprefix("==")
    with zipfile.ZipFile(distributions[1]) as wheel:
        wheel.extractall(tmp_path)
    (info,) = tmp_path.glob("*.dist-info")
    metadata = (info / "METADATA").read_text("utf-8")
    waiting = [Requirement(line) for line in re.findall(r"^Requires-Dist: (.+)$", metadata, re.MULTILINE)]
    seen: set[str] = set()
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        if name.startswith(("nvidia-", "cuda-", "triton")):  # which of these torch needs depends on its build
            continue
        assert name in pins, f"{requirement} is not in constraints.txt"
        assert requirement.specifier.contains(pins[name]), f"{requirement}, constraints.txt has {pins[name]}"
        if name not in seen:
            seen.add(name)
            waiting += [needed for needed in _requirements(name) if _applies(needed)]


def _requirements(name: str) -> list[Requirement]:
    try:
        return [Requirement(line) for line in requires(distribution(name).metadata["Name"]) or []]
    except ModuleNotFoundError:  # an extra that is not installed here, such as [benchmark]
        return []


def _applies(requirement: Requirement) -> bool:
    return requirement.marker is None or requirement.marker.evaluate({"extra": ""})
