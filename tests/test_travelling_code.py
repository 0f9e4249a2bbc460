"""A linker runs where hf_blink is not installed, from the code in its repository."""

import json
import subprocess
import sys

import pytest
from transformers import AutoModel, pipeline

from hf_blink.modeling.entity_linker import EntityLinker
from hf_blink.modeling.modeling_blink_biencoder import BlinkBiEncoder
from tests.test_layers import TRAVELLING

TEXT = "Puma and Paris."
WITHOUT_THE_PACKAGE = """
import json, sys, warnings
class Refused:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "hf_blink":
            raise ModuleNotFoundError("no hf_blink here")
sys.meta_path.insert(0, Refused())
warnings.simplefilter("ignore")
repo, revision, folder, text = sys.argv[1:]
from transformers import AutoModel, AutoProcessor, pipeline
link = pipeline("entity-linking", model=repo, revision=revision, trust_remote_code=True)
inferred = pipeline(model=repo, revision=revision, trust_remote_code=True)
cross_encoder = AutoModel.from_pretrained(repo, subfolder="cross_encoder", revision=revision, trust_remote_code=True)
bi_encoder = AutoModel.from_pretrained(repo, revision=revision, trust_remote_code=True)
processor = AutoProcessor.from_pretrained(repo, revision=revision, trust_remote_code=True)
link.save_pretrained(folder)
print(json.dumps({
    "links": link(text), "inferred": inferred(text),
    "classes": [type(part).__name__ for part in (link, cross_encoder, bi_encoder, processor)],
    "modules": sorted({type(part).__module__.split(".")[0] for part in (link, cross_encoder, bi_encoder, processor)}),
    "package": "hf_blink" in sys.modules,
}))
"""


@pytest.fixture
def full_linker(linker, cross_encoder) -> EntityLinker:
    linker.cross_encoder = cross_encoder
    return linker


def run_without_the_package(environment, *arguments) -> dict:
    result = subprocess.run(
        [sys.executable, "-I", "-c", WITHOUT_THE_PACKAGE, *arguments],
        capture_output=True, text=True, timeout=240, env=environment, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-3000:]
    return json.loads(result.stdout.splitlines()[-1])


def test_a_repository_runs_without_the_package_and_gives_the_same_links(full_linker, hub, tmp_path):
    commit = full_linker.push_to_hub("user/linker", private=True).oid
    here = pipeline("entity-linking", model="user/linker")(TEXT)
    got = run_without_the_package(hub.environment(), "user/linker", commit, str(tmp_path / "saved"), TEXT)
    assert got["links"] == got["inferred"] == json.loads(json.dumps(here))
    assert got["classes"] == [
        "EntityLinkingPipeline",
        "BlinkCrossEncoder",
        "BlinkBiEncoder",
        "BlinkProcessor",
    ]
    assert got["modules"] == ["transformers_modules"] and not got["package"]
    # What it saved is the whole linker again, its code included, and nothing twice.
    pushed, saved = hub.files("user/linker"), tmp_path / "saved"
    names = {path.relative_to(saved).as_posix() for path in saved.rglob("*") if path.is_file()}
    assert names == set(pushed) - {".gitattributes", "README.md"}
    assert all((saved / name).read_bytes() == pushed[name] for name in names if name.endswith(".py"))
    assert pipeline("entity-linking", model=str(saved))(TEXT) == here


def test_every_file_of_modeling_travels_and_the_code_is_named_where_it_is(full_linker, tmp_path):
    full_linker.save_pretrained(tmp_path / "linker")
    assert {path.name for path in (tmp_path / "linker").glob("*.py")} == {path.name for path in TRAVELLING}
    for name in ("config.json", "cross_encoder/config.json", "processor_config.json"):
        auto_map = json.loads((tmp_path / "linker" / name).read_text())["auto_map"]
        for reference in auto_map.values():
            module, cls = reference.split(".")
            assert f"class {cls}(" in (tmp_path / "linker" / f"{module}.py").read_text()


def test_the_installed_classes_ignore_the_names_of_code(full_linker, tmp_path):
    full_linker.save_pretrained(tmp_path / "linker")
    config = tmp_path / "linker" / "config.json"
    content = json.loads(config.read_text())
    assert set(content["custom_pipelines"]) == {"entity-linking"}
    content["auto_map"] = {"AutoModel": "evil/code--x.Y", "AutoConfig": "evil/code--x.Y"}  # code elsewhere
    content["custom_pipelines"]["entity-linking"]["impl"] = "evil/code--x.Y"
    config.write_text(json.dumps(content))
    for options in ({}, {"trust_remote_code": True}):
        model = AutoModel.from_pretrained(tmp_path / "linker", **options)
        assert type(model) is BlinkBiEncoder
        assert not hasattr(model.config, "auto_map") and not hasattr(model.config, "custom_pipelines")


def test_an_encoder_alone_takes_only_the_files_that_it_needs(bi_encoder, processor, hub):
    bi_encoder.push_to_hub("user/bi-encoder")
    files = {name for name in hub.files("user/bi-encoder") if name.endswith(".py")}
    assert files == {
        "configuration_blink.py", "full_disk.py", "hub_transfer.py", "layer_selection.py", "modeling_blink.py",
        "modeling_blink_biencoder.py", "travelling_code.py",
    }  # fmt: skip
    assert "custom_pipelines" not in json.loads(hub.files("user/bi-encoder")["config.json"])
