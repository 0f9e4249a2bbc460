"""The README's Python is run as it stands, with a tiny encoder in place of the named one."""

import json
import re
import shlex
import sys
from pathlib import Path
from types import ModuleType

import pytest

from hf_blink.cli import main
from hf_blink.modeling.entity_linker import EntityLinker
from hf_blink.training import train_biencoder

README = Path(__file__).parents[1] / "README.md"


@pytest.fixture
def blocks(tiny_encoder) -> list[str]:
    code = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.DOTALL)
    names = {"sentence-transformers/all-MiniLM-L6-v2": tiny_encoder, '"quickstart-linker"': '"my-linker"'}
    for name, stand_in in names.items():
        code = [block.replace(name, stand_in) for block in code]
    return code


@pytest.fixture
def data(entities, tmp_path, monkeypatch) -> None:
    """The files that the README names, in the current folder."""
    monkeypatch.chdir(tmp_path)
    Path("entities.jsonl").write_text("".join(json.dumps(entity) + "\n" for entity in entities))
    lines = []
    for entity in entities:
        title = entity["title"]
        text = f"{title}: {entity['description']}"
        lines.append(
            {"id": entity["id"], "text": text, "start": 0, "end": len(title), "label_id": entity["id"]}
        )
    for name in ("mentions_train.jsonl", "mentions_val.jsonl"):
        Path(name).write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_code_of_the_readme_runs(blocks, data, hub, capsys):
    assert len(blocks) == 5, "link, train, pipeline, entities, Hub"
    for block in blocks:
        exec(compile(block, str(README), "exec"), {})
    assert [len(hub.commits("user/my-linker")), "README.md" in hub.files("user/my-linker")] == [2, True]
    printed = capsys.readouterr().out
    assert printed.startswith("[('Jaguar', 'Jaguar', 0.") and "accuracy_unnormalised" in printed
    assert len(blocks[1].splitlines()) <= 18


def test_the_hub_commands_of_the_readme_run(linker, hub, tmp_path, monkeypatch):
    section = README.read_text(encoding="utf-8").split("## On the Hub")[1].split("\n## ")[0]
    (block,) = re.findall(r"```bash\n(.*?)```", section, flags=re.DOTALL)
    commands = [shlex.split(line, comments=True) for line in block.splitlines()]
    assert [words[:2] for words in commands] == [
        ["hf-blink", name] for name in ("push", "push-space", "serve", "demo")
    ]
    monkeypatch.chdir(tmp_path)
    linker.save_pretrained("my-linker")
    run = Path("runs/biencoder/round_0")
    run.mkdir(parents=True)
    (run / "round.json").write_text('{"losses": [[25, 2.5], [50, 1.5]]}')
    (run.parent / "recipe.json").write_text('{"base_model": "org/encoder", "train": ["mentions.jsonl"]}')
    Path("metrics.json").write_text(
        '{"recall@1": 0.5, "num_mentions": 2, "num_entities": 6, "num_worlds": 0}'
    )
    started = []
    for module, function in (("server", "serve"), ("demo_app", "launch")):
        stand_in = ModuleType(f"hf_blink.{module}")  # both really run in tests of their own
        setattr(stand_in, function, lambda model, **_: started.append(model))
        monkeypatch.setitem(sys.modules, f"hf_blink.{module}", stand_in)
    for words in commands:
        assert main(words[1:]) == 0
    assert "my test set" in hub.files("user/my-linker")["README.md"].decode()
    assert "app.py" in hub.files("user/my-linker-demo", repo_type="space")
    assert started == ["user/my-linker"] * 2


def test_the_training_command_of_the_readme_runs(tiny_encoder, data, capsys):
    """With a batch that six entities fill and two steps; the same lines open docs/training.md."""
    section = README.read_text(encoding="utf-8").split("## Train and measure")[1]
    found = re.search(r"```bash\n(.*?)```", section, flags=re.DOTALL)
    assert found and found[1] in (README.parent / "docs/training.md").read_text(encoding="utf-8")
    train, build = [shlex.split(line) for line in found[1].replace("\\\n", "").splitlines()]
    assert train[:4] == ["accelerate", "launch", "-m", "hf_blink.training.train_biencoder"]
    words = [tiny_encoder if word.startswith("sentence-transformers/") else word for word in train[4:]]
    short = ["--use_cpu", "true", "--max_steps", "2", "--per_device_train_batch_size", "3"]
    metrics = train_biencoder.main([*words, *short])
    assert metrics["num_mentions"] == 6 and Path("runs/biencoder/round_1/round.json").is_file()
    assert main(build[1:]) == 0
    assert len(EntityLinker.from_pretrained("my-linker").knowledge_base) == 6
