"""Commands and code of docs/importing.md are run as they stand, on small files under the originals' names."""

import json
import re
import shlex
import shutil
from pathlib import Path

import pytest

from hf_blink import EntityLinker, export_elq
from hf_blink.cli import main
from tests.blink_files import blink as blink
from tests.test_elq_import import source as source
from tests.zeshel_corpus import write_corpus

PAGE = Path(__file__).parents[1] / "docs/importing.md"


def run(heading: str) -> None:
    """Runs all commands and code between a heading and the next one of its level or above."""
    text = PAGE.read_text(encoding="utf-8")
    level = heading.split()[0]
    section = re.split(rf"\n#{{1,{len(level)}}} ", text.split(f"\n{heading}\n")[1])[0]
    blocks = re.findall(r"```(bash|python)\n(.*?)```", section, flags=re.DOTALL)
    assert blocks
    for language, block in blocks:
        if language == "python":
            exec(compile(block, str(PAGE), "exec"), {})
            continue
        for line in block.replace("\\\n", " ").splitlines():
            program, *words = shlex.split(line)
            assert program == "hf-blink" and main(words) == 0


@pytest.fixture
def models(tmp_path, monkeypatch) -> Path:
    """The folder of a download, in the current one."""
    monkeypatch.chdir(tmp_path)
    Path("models").mkdir()
    return Path("models")


def test_blink_from_the_download_to_the_pipeline_and_back(blink, models):
    for name in ("biencoder", "crossencoder"):
        shutil.copy(blink[name], models / f"{name}_wiki_large.bin")
        shutil.copy(blink[f"{name}_config"], models / f"{name}_wiki_large.json")
    shutil.copy(blink["entities"], models / "entity.jsonl")
    shutil.copy(blink["hnsw"], models / "faiss_hnsw_index.pkl")
    run("### From the download to the pipeline")
    run("### Back to BLINK's files")
    assert EntityLinker.from_pretrained("blink-wiki").index.kind == "hnsw"
    assert Path("models-again/faiss_hnsw_index.pkl").is_file()


def test_zeshel_checkpoints(blink, models):
    folder = Path("zeshel/epoch_4")
    write_corpus(folder.parent)
    folder.mkdir()
    shutil.copy(blink["biencoder"], folder / "pytorch_model.bin")
    settings = json.loads(Path(blink["biencoder_config"]).read_text())
    (folder.parent / "training_params.txt").write_text(repr(settings))
    run("### Zeshel checkpoints")
    assert len(EntityLinker.from_pretrained("blink-zeshel").knowledge_base.worlds) == 16


def test_elq(source, models):
    options = {"processor": source.processor, "index_kind": "hnsw", "progress": False}
    linker = EntityLinker.from_knowledge_base(source.knowledge_base, source.bi_encoder, **options)
    out = export_elq(linker, "exported")
    out.joinpath("elq.bin").rename(models / "elq_wiki_large.bin")
    out.joinpath("elq_params.txt").rename(models / "elq_large_params.txt")
    out.joinpath("bert").rename("bert")  # the settings name it so
    for name in ("entity.jsonl", "faiss_hnsw_index.pkl"):
        out.joinpath(name).rename(models / name)
    run("## ELQ")
    assert EntityLinker.from_pretrained("elq-wiki").bi_encoder.config.joint_threshold == -2.9
