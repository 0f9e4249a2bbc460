"""The Python files beside the weights: they let transformers run a repository where hf_blink is not installed.

A repository has every file once, at its root. `config.json` and `processor_config.json` name the classes in them
(`auto_map`), and a linker's `config.json` the pipeline as well (`custom_pipelines`). Where hf_blink is installed, its own
classes are used instead, and they ignore both keys (see `_BlinkConfig`).
"""

import json
import re
import shutil
from pathlib import Path
from typing import Any

_FOLDER = Path(__file__).parent
_IMPORT = re.compile(r"^from \.(\w+) import ", re.MULTILINE)
_HANDLER = "handler.py"
_CONFIGURATION, _BI_ENCODER, _CROSS_ENCODER, _PROCESSOR, _PIPELINE = (
    "configuration_blink", "modeling_blink_biencoder", "modeling_blink_crossencoder", "processing_blink",
    "pipeline_entity_linking",
)  # fmt: skip
_AUTO_MAPS = {
    "blink-biencoder": {
        "AutoConfig": f"{_CONFIGURATION}.BlinkBiEncoderConfig",
        "AutoModel": f"{_BI_ENCODER}.BlinkBiEncoder",
    },
    "blink-crossencoder": {
        "AutoConfig": f"{_CONFIGURATION}.BlinkCrossEncoderConfig",
        "AutoModel": f"{_CROSS_ENCODER}.BlinkCrossEncoder",
    },
    "elq": {"AutoConfig": "configuration_elq.ElqConfig", "AutoModel": "modeling_elq.ElqModel"},
}
_PROCESSOR_MAPS = {
    "BlinkProcessor": {"AutoProcessor": f"{_PROCESSOR}.BlinkProcessor"},
    "ElqProcessor": {"AutoProcessor": "processing_elq.ElqProcessor"},
}
_PIPELINES = {
    "entity-linking": {"impl": f"{_PIPELINE}.EntityLinkingPipeline", "pt": ["AutoModel"], "type": "text"}
}


def add_encoder_code(processor: Any, folder: Path) -> None:
    """Adds a processor (or None), and the code of both, to the folder of a saved encoder."""
    if processor is not None:
        processor.save_pretrained(folder)
    entries = []
    if (folder / "config.json").is_file():
        entries += _name_classes(folder / "config.json", _auto_map_of(folder / "config.json"))
    if (folder / "processor_config.json").is_file():
        entries += _name_classes(
            folder / "processor_config.json", _processor_map_of(folder / "processor_config.json")
        )
    for name in _with_imports(entries):
        shutil.copyfile(_FOLDER / f"{name}.py", folder / f"{name}.py")


def add_linker_code(folder: Path, cross_encoder: str, origin: Path | None = None) -> None:
    """Adds the code of a saved linker to its folder.

    Args:
        folder: the linker's folder.
        cross_encoder: name of the sub-folder that the cross-encoder is in, if there is one.
        origin: the folder that the linker was loaded from; only code that itself came from there takes files from it.
    """
    config = folder / "config.json"
    _name_classes(config, _auto_map_of(config))
    _update(config, {"custom_pipelines": _PIPELINES})
    processor = folder / "processor_config.json"
    _name_classes(processor, _processor_map_of(processor))
    if (folder / cross_encoder).is_dir():
        for copied in (folder / cross_encoder).glob(
            "*.py"
        ):  # transformers adds them when the class came from the Hub
            copied.unlink()
        nested = folder / cross_encoder / "config.json"
        _name_classes(nested, _auto_map_of(nested))
    for name in _with_imports([_PIPELINE]):
        shutil.copyfile(_FOLDER / f"{name}.py", folder / f"{name}.py")
    if (_FOLDER / _HANDLER).is_file():
        shutil.copyfile(_FOLDER / _HANDLER, folder / _HANDLER)
    elif (
        origin is not None
    ):  # this is code from the Hub, of which transformers copied only what the pipeline imports
        for name in (_HANDLER, "requirements.txt"):
            if (origin / name).is_file():
                shutil.copyfile(origin / name, folder / name)


def refuse_code_elsewhere(folder: Path, cross_encoder: str) -> None:
    """Refuses a linker's folder whose files name code of another repository, which transformers would fetch and run.

    Args:
        folder: the linker's folder.
        cross_encoder: name of the sub-folder of the cross-encoder.

    Raises:
        ValueError: a class or a pipeline is named as `user/name--file.Class`; names the file and the key.
    """
    for name in ("config.json", "processor_config.json", f"{cross_encoder}/config.json"):
        content = json.loads((folder / name).read_text(encoding="utf-8")) if (folder / name).is_file() else {}
        named = {key: content.get(key) for key in ("auto_map", "custom_pipelines")}
        for key, value in named.items():
            if "--" in json.dumps(value):
                raise ValueError(
                    f"expected {key} in {folder / name} to name code of the linker's own repository, got "
                    f"{str(value)[:200]}; do not trust this repository, or save the linker again"
                )


def _auto_map_of(config: Path) -> dict[str, str]:
    return _AUTO_MAPS[json.loads(config.read_text(encoding="utf-8"))["model_type"]]


def _processor_map_of(config: Path) -> dict[str, str]:
    return _PROCESSOR_MAPS[json.loads(config.read_text(encoding="utf-8"))["processor_class"]]


def _name_classes(file: Path, auto_map: dict[str, str]) -> list[str]:
    """Writes the `auto_map` and returns the names of the files that it refers to."""
    _update(file, {"auto_map": auto_map})
    return sorted({reference.split(".")[0] for reference in auto_map.values()})


def _update(file: Path, entries: dict[str, Any]) -> None:
    content = json.loads(file.read_text(encoding="utf-8")) | entries
    file.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _with_imports(names: list[str]) -> list[str]:
    """The files and everything that they import from each other, by name, sorted."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += _IMPORT.findall((_FOLDER / f"{name}.py").read_text(encoding="utf-8"))
    return sorted(found)
