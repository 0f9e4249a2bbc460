"""The README's Python is run as it stands, with a tiny encoder in place of the named one."""

import json
import re
from pathlib import Path

import pytest

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
