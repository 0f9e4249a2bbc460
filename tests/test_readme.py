"""The README's Python is run as it stands, with a tiny encoder in place of the named one."""

import json
import re
import shlex
import sys
from pathlib import Path
from types import ModuleType

import pytest

from hf_blink.cli import main

README = Path(__file__).parents[1] / "README.md"


@pytest.fixture
def blocks(tiny_encoder) -> list[str]:
    code = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.DOTALL)
    names = {"sentence-transformers/all-MiniLM-L6-v2": tiny_encoder, '"quickstart-linker"': '"my-linker"'}
    for name, stand_in in names.items():
        code = [block.replace(name, stand_in) for block in code]
    return code


def test_code_of_the_readme_runs(blocks, entities, hub, tmp_path, monkeypatch, capsys):
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
