import json
from collections import Counter
from pathlib import Path

from transformers import pipeline

from hf_blink import quickstart
from hf_blink.modeling.knowledge_base import KnowledgeBase
from hf_blink.training.dataset_readers import read_mentions


def rows(name: str) -> list[dict]:
    return [
        json.loads(line) for line in Path(quickstart.data_path(name)).read_text(encoding="utf-8").splitlines()
    ]


def test_the_data_are_large_enough_and_sound():
    entities, train, test = rows("entities.jsonl"), rows("mentions_train.jsonl"), rows("mentions_test.jsonl")
    assert len(entities) >= 250 and len(train) + len(test) >= 600
    ids = {entity["id"] for entity in entities}
    for mention in train + test:
        assert 0 <= mention["start"] < mention["end"] <= len(mention["text"])
        assert mention["label_id"] in ids
    assert len({mention["text"] for mention in train + test}) == len(train) + len(test)
    assert len({mention["id"] for mention in train + test}) == len(train) + len(test)


def test_test_entities_are_unseen_and_names_collide():
    entities, train, test = rows("entities.jsonl"), rows("mentions_train.jsonl"), rows("mentions_test.jsonl")
    assert not {mention["label_id"] for mention in train} & {mention["label_id"] for mention in test}
    titles = Counter(entity["title"].casefold() for entity in entities)
    assert sum(count for count in titles.values() if count > 1) >= 100
    assert {"ronaldo-nazario", "cristiano-ronaldo"} <= {mention["label_id"] for mention in test}


def test_training_knows_no_test_entity():
    everything = KnowledgeBase.from_jsonl(quickstart.data_path("entities.jsonl"))
    test = read_mentions(quickstart.data_path("mentions_test.jsonl"))
    seen = {entity.entity_id for entity in quickstart.without_entities_of(test, everything)}
    unseen = {mention["label_id"] for mention in rows("mentions_test.jsonl")}
    assert seen == {entity["id"] for entity in rows("entities.jsonl")} - unseen
    assert {mention["label_id"] for mention in rows("mentions_train.jsonl")} <= seen


def test_run_leaves_a_linker_that_the_pipeline_loads(tiny_encoder, tmp_path, monkeypatch):
    monkeypatch.setattr(quickstart, "HARD_NEGATIVE_EPOCHS", 0.1)
    monkeypatch.setattr(quickstart, "CROSS_ENCODER_MENTIONS", 8)
    said: list[str] = []
    out = tmp_path / "linker"
    table = quickstart.run(base_model=tiny_encoder, out=str(out), say=said.append, max_steps=3)
    # 756 mentions in batches of 32 are 24 steps, 2.4 in a tenth of an epoch; the cross-encoder has one
    assert "The trainings were cut short (--max-steps 3): 3 of 48 steps." in said
    systems = [
        "exact title or alias",
        "untrained encoder",
        "bi-encoder, in-batch",
        "+ hard negatives",
        "+ cross-encoder",
    ]
    assert [row["system"] for row in table] == systems
    for row in table:
        assert 0 <= row["recall@1"] <= row["recall@8"] <= 1
    assert "ronaldo" in (out / "links.html").read_text(encoding="utf-8").casefold()
    assert "runner-up" in "\n".join(said)
    link = pipeline("entity-linking", model=str(out), device="cpu")("Was it Jordan?")[0]
    assert link["word"] == "Jordan" and len(link["candidates"]) == 8
    assert len(KnowledgeBase.from_pretrained(out / "knowledge_base")) == len(rows("entities.jsonl"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["linker"]
