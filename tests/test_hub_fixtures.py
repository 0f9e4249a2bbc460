"""The fixture `hub`: transformers, datasets and other processes use the local Hub."""

import json
import subprocess
import sys
from pathlib import Path

import datasets
import pytest
import torch
from huggingface_hub import HfApi, constants, is_offline_mode
from transformers import AutoConfig, AutoModel, AutoTokenizer

from tests.hub_fixtures import add

# Nothing may be left of the Hub of the turn before.
twice = pytest.mark.parametrize("turn", [1, 2])


@twice
def test_transformers_push_and_load(hub, tiny_encoder, turn):
    model = AutoModel.from_pretrained(tiny_encoder)
    model.push_to_hub("org/encoder", private=True)
    AutoTokenizer.from_pretrained(tiny_encoder).push_to_hub("org/encoder", tags=["tiny"])
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= set(hub.files("org/encoder"))
    hub.reset()
    loaded = AutoModel.from_pretrained("org/encoder")
    assert hub.count("GET", "/lfs/models/org/encoder/") == 1
    hub.reset()
    AutoModel.from_pretrained("org/encoder", revision=hub.commits("org/encoder")[0].oid)
    assert hub.requests == []
    assert torch.equal(loaded.embeddings.word_embeddings.weight, model.embeddings.word_embeddings.weight)
    assert AutoTokenizer.from_pretrained("org/encoder")("paris").input_ids
    with pytest.raises(OSError, match="not a valid model identifier"):
        AutoConfig.from_pretrained("org/encoder", token=hub.other_token, cache_dir=hub.home / "other")


REMOTE_CONFIG = """
from transformers import PretrainedConfig

class RemoteConfig(PretrainedConfig):
    model_type = "remote"
    version = {}
"""


@twice
def test_code_of_a_revision(hub, turn):
    def push(version: int) -> str:
        config = {"model_type": "remote", "auto_map": {"AutoConfig": "remote.RemoteConfig"}}
        files = {
            "config.json": json.dumps(config).encode(),
            "remote.py": REMOTE_CONFIG.format(version).encode(),
        }
        return HfApi().create_commit("org/remote", add(files), commit_message=f"Version {version}").oid

    def version(revision: str | None = None) -> int:
        return AutoConfig.from_pretrained("org/remote", trust_remote_code=True, revision=revision).version

    HfApi().create_repo("org/remote")
    first = push(turn)
    assert version() == turn
    push(turn + 10)
    assert (version(), version(first)) == (turn + 10, turn)


@twice
def test_datasets_push_and_load(hub, turn):
    rows = datasets.Dataset.from_dict({"title": ["Paris", "Puma"], "links": [3, turn]})
    rows.push_to_hub("org/entities", split="train", private=True)
    rows.select([0]).push_to_hub("org/entities", config_name="small", split="test")
    assert "small/test-00000-of-00001.parquet" in hub.files("org/entities", repo_type="dataset")
    with pytest.raises(datasets.exceptions.DatasetNotFoundError):
        datasets.load_dataset("org/entities", token=False)
    cold = datasets.load_dataset("org/entities", split="train")
    assert cold.to_list() == rows.to_list()
    assert Path(cold.cache_files[0]["filename"]).is_relative_to(hub.home)
    hub.reset()
    warm = datasets.load_dataset("org/entities", split="train")
    assert warm.cache_files == cold.cache_files
    assert hub.count("HEAD") > 0 and hub.count("GET") == 0
    assert datasets.load_dataset("org/entities", "small", split="test").to_list() == rows.to_list()[:1]
    streamed = datasets.load_dataset("org/entities", split="train", streaming=True)
    assert list(streamed) == rows.to_list()


PUSH_AND_LOAD = """
import huggingface_hub as hub
hub.create_repo("org/model", private=True)
hub.upload_file(path_or_fileobj=__file__.encode() * 100, path_in_repo="a.bin", repo_id="org/model")
print(hub.snapshot_download("org/model"))
"""


def test_other_process(hub, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(PUSH_AND_LOAD)
    environment = hub.environment(tmp_path / "home")
    done = subprocess.run([sys.executable, script], env=environment, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    folder = Path(done.stdout.strip())
    assert (folder / "a.bin").read_bytes() == hub.files("org/model")["a.bin"] == str(script).encode() * 100
    assert folder.is_relative_to(tmp_path / "home")
    reading = [path.split("/")[1] for method, path in hub.requests if method in ("GET", "HEAD")]
    assert sorted(reading) == ["api", "api", "lfs", "org", "org", "org"]


def test_settings_come_back():
    assert is_offline_mode() and datasets.config.HF_HUB_OFFLINE
    assert constants.ENDPOINT == datasets.config.HF_ENDPOINT == "https://huggingface.co"
    assert HfApi().endpoint == "https://huggingface.co"
