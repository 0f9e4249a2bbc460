"""Imports point one way, and the files that travel to the Hub keep to what the Hub can load."""

import ast
import graphlib
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("modeling", "training", "hub_cards")
TRAVELLING = sorted(path for path in (ROOT / "modeling").glob("*.py") if path.name != "__init__.py")
TRAINING = sorted((ROOT / "training").glob("*.py"))
FACE = sorted((ROOT / "hf_blink").glob("*.py"))
ALL = [
    *(ROOT / "modeling").glob("*.py"),
    *TRAINING,
    *(ROOT / "hub_cards").glob("*.py"),
    *FACE,
    *(ROOT / "tests").glob("*.py"),
    *(ROOT / "benchmarks").glob("*.py"),
]

THIRD_PARTY = {
    "datasets",
    "faiss",
    "huggingface_hub",
    "numpy",
    "pyarrow",
    "safetensors",
    "tokenizers",
    "torch",
    "tqdm",
    "transformers",
}
IMPORTS_FAISS = {"entity_index", "index_kinds", "index_storage"}
OWN_LIBRARY_NAMES = {"accelerate", "evaluate", "pandas", "sentence_transformers", "spacy", "wrapt", "yaml"}
# A file may import from the groups before its own; files that are not listed are bound by "no cycle" alone.
LAYERS = (
    {"linking_types"},
    {"configuration_blink", "knowledge_base"},
    {"processing_blink", "modeling_blink_biencoder", "modeling_blink_crossencoder"},
    {"entity_index"},
    {"entity_linker"},
    {"pipeline_entity_linking"},
)
DYNAMIC_IMPORT = re.compile(r"^\s*(?:import\s+\.(\S+)\s*$|from\s+\.(\S+)\s+import)", re.MULTILINE)


def imports(tree: ast.AST) -> Iterator[tuple[int, str, tuple[str, ...]]]:
    """Every import statement as (dots, module, names); `import a.b` gives (0, "a.b", ())."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield 0, alias.name, ()
        elif isinstance(node, ast.ImportFrom):
            yield node.level, node.module or "", tuple(alias.name for alias in node.names)


def siblings(tree: ast.AST) -> set[str]:
    return {module for level, module, _ in imports(tree) if level == 1 and module}


def travelling_faults(source: str, name: str, files: set[str], classes: set[str]) -> list[str]:
    """What would break a file of modeling/ on the Hub.

    Args:
        source: The text of the file.
        name: Its name without `.py`.
        files: Names of all files of the folder.
        classes: Names of all classes of the folder.
    """
    tree = ast.parse(source)
    faults = []
    for level, module, names in imports(tree):
        if level == 0:
            top = module.partition(".")[0]
            if top not in THIRD_PARTY | sys.stdlib_module_names:
                faults.append(f"imports {module}")
            if top == "faiss" and name not in IMPORTS_FAISS:
                faults.append("imports faiss")
        elif level > 1 or module not in files or "*" in names:
            faults.append(f"relative import of {'.' * level}{module} is not `from .sibling import Name`")
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("isinstance", "issubclass"):
            named = {getattr(part, "id", getattr(part, "attr", "")) for part in ast.walk(node.args[1])}
            faults += [f"isinstance of {cls}" for cls in sorted(named & classes)]
    found = {first or second for first, second in DYNAMIC_IMPORT.findall(source)}
    faults += [f"a text line reads like an import of .{module}" for module in sorted(found - siblings(tree))]
    return faults


def second_copy_faults(source: str) -> list[str]:
    """Imports that would load a folder a second time, under a name of its own."""
    return [
        f"imports {module}; it is hf_blink.{module}"
        for level, module, _ in imports(ast.parse(source))
        if level == 0 and module.partition(".")[0] in FOLDERS
    ]


def package_faults(source: str, allowed: tuple[str, ...]) -> list[str]:
    """Imports of hf_blink outside the allowed sub-packages, and relative imports."""
    faults = []
    for level, module, names in imports(ast.parse(source)):
        if level:
            faults.append(f"relative import of {'.' * level}{module}")
        elif module == "hf_blink" and names:
            faults += [f"imports hf_blink.{name}" for name in names if name not in allowed]
        elif module.partition(".")[0] == "hf_blink" and module.split(".")[1:2] not in [
            [name] for name in allowed
        ]:
            faults.append(f"imports {module}")
    return faults


def bad_file_name(name: str) -> bool:
    libraries = THIRD_PARTY | OWN_LIBRARY_NAMES | sys.stdlib_module_names
    return name in libraries or "onnx" in name or "pytorch" in name


@cache
def own_classes() -> set[str]:
    return {
        node.name
        for path in TRAVELLING
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.ClassDef)
    }


@pytest.mark.parametrize("path", TRAVELLING, ids=lambda path: path.stem)
def test_travelling_file_imports_siblings_and_known_libraries(path):
    files = {other.stem for other in TRAVELLING}
    assert travelling_faults(path.read_text("utf-8"), path.stem, files, own_classes()) == []


@pytest.mark.parametrize("path", TRAVELLING, ids=lambda path: path.stem)
def test_travelling_file_has_a_name_of_its_own(path):
    assert not bad_file_name(path.stem)


def test_travelling_files_import_without_cycle_and_downwards():
    uses = {path.stem: siblings(ast.parse(path.read_text("utf-8"))) for path in TRAVELLING}
    graphlib.TopologicalSorter(uses).prepare()  # raises CycleError, naming the cycle
    for position, layer in enumerate(LAYERS):
        above = set().union(*LAYERS[position + 1 :])
        for name in layer & uses.keys():
            assert not uses[name] & above, f"{name} imports from a layer above its own"


def test_handler_imports_transformers_alone():
    for path in TRAVELLING:
        if path.stem == "handler":
            tops = {module.partition(".")[0] for _, module, _ in imports(ast.parse(path.read_text("utf-8")))}
            assert tops - sys.stdlib_module_names <= {"transformers"}


@pytest.mark.parametrize("path", ALL, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_no_file_imports_a_second_copy(path):
    assert second_copy_faults(path.read_text("utf-8")) == []


@pytest.mark.parametrize("path", TRAINING, ids=lambda path: path.stem)
def test_training_does_not_import_the_face(path):
    assert package_faults(path.read_text("utf-8"), FOLDERS) == []


def test_hub_cards_import_nothing_of_the_package():
    for path in (ROOT / "hub_cards").glob("*.py"):
        assert package_faults(path.read_text("utf-8"), ("hub_cards",)) == []


def test_face_uses_absolute_imports():
    for path in FACE:
        assert not [module for level, module, _ in imports(ast.parse(path.read_text("utf-8"))) if level]


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        ("from hf_blink.modeling.linking_types import Entity", "imports hf_blink"),
        ("import pandas", "imports pandas"),
        ("def f():\n    import faiss", "imports faiss"),
        ("from . import linking_types", "not `from .sibling"),
        ("from ..training.losses import f", "not `from .sibling"),
        ("from .part.inner import f", "not `from .sibling"),
        ("from .linking_types import *", "not `from .sibling"),
        ("isinstance(x, (dict, Entity))", "isinstance of Entity"),
        ("isinstance(x, linking_types.Entity)", "isinstance of Entity"),
        ('"""Text.\n\nfrom .other import it\n"""', "reads like an import of .other"),
    ],
)
def test_travelling_faults_are_found(source, fault):
    found = travelling_faults(source, "some_file", {"linking_types"}, {"Entity"})
    assert any(fault in text for text in found)


def test_travelling_faults_accepts_what_is_allowed():
    source = "import json\nimport torch\nfrom .linking_types import Entity\nisinstance(1, int)"
    assert travelling_faults(source, "some_file", {"linking_types"}, {"Entity"}) == []
    assert travelling_faults("import faiss", "index_storage", set(), set()) == []


def test_second_copy_and_face_imports_are_found():
    assert second_copy_faults("import modeling.linking_types")
    assert second_copy_faults("from training import losses")
    assert package_faults("from hf_blink import EntityLinker", FOLDERS)
    assert package_faults("import hf_blink.cli", FOLDERS)
    assert package_faults("from .losses import f", FOLDERS)
    assert not package_faults("from hf_blink.modeling.linking_types import Entity", FOLDERS)


def test_library_names_are_found():
    assert all(map(bad_file_name, ("datasets", "logging", "exported_onnx", "pytorch_helpers")))
    assert not bad_file_name("linking_types")
