"""A linker with an ELQ model, and the model alone, on the Hub: card, code, and use where hf_blink is not installed."""

import json

import pytest
from transformers import AutoModel, pipeline

from hf_blink.card_facts import CardNotes
from hf_blink.hub import push
from tests.elq_example import elq_linker
from tests.test_travelling_code import run_without_the_package

TEXT = "The Jaguar of Paris."


def test_a_linker_runs_without_the_package(tiny_encoder, knowledge_base, cross_encoder, hub, tmp_path):
    linker = elq_linker(tiny_encoder, knowledge_base, cross_encoder=cross_encoder)
    commit = linker.push_to_hub("user/elq-linker").oid
    text = hub.files("user/elq-linker")["README.md"].decode()
    assert "\n- elq\n" in text and "| joint threshold | -4.5 |" in text and "cross-encoder has read" in text
    here = pipeline("entity-linking", model="user/elq-linker")(TEXT)
    assert [link["word"] for link in here] == ["Jaguar", "Paris"]
    got = run_without_the_package(hub.environment(), "user/elq-linker", commit, str(tmp_path / "saved"), TEXT)
    assert got["links"] == got["inferred"] == json.loads(json.dumps(here))
    assert got["classes"] == ["EntityLinkingPipeline", "BlinkCrossEncoder", "ElqModel", "ElqProcessor"]
    assert got["modules"] == ["transformers_modules"] and not got["package"]
    assert pipeline("entity-linking", model=str(tmp_path / "saved"))(TEXT) == here


def test_the_card_says_what_the_scores_are(tiny_encoder, knowledge_base, hub):
    linker = elq_linker(tiny_encoder, knowledge_base, joint_threshold=-2.9, num_candidates=4)
    linker.push_to_hub("user/elq-linker")
    text = hub.files("user/elq-linker")["README.md"].decode()
    assert "is above -2.9, the joint threshold" in text and "It is above 0.05502," in text
    assert "| candidates of a span | 4 |" in text and "at most 50 |" in text and "of up to 11 tokens" in text
    links = linker.link(TEXT)
    assert [link.mention.text for link in links] == ["Jaguar", "Paris"]
    for link in links:
        assert link.score > 0.05502 and link.score == pytest.approx(
            link.mention_score * link.candidates[0].score
        )
        assert sum(candidate.score for candidate in link.candidates) == pytest.approx(1)
    given = linker.link(TEXT, mentions=[(4, 10)])[0]
    assert (given.mention_score, given.score) == (None, given.candidates[0].score)
    linker.bi_encoder.config.joint_threshold = -0.001
    assert linker.link(TEXT, return_nil=True) == []


def test_a_model_alone_goes_with_its_processor_card_run_and_metrics(
    tiny_encoder, knowledge_base, hub, tmp_path
):
    linker = elq_linker(tiny_encoder, knowledge_base)
    linker.bi_encoder.save_pretrained(tmp_path / "model")
    linker.processor.save_pretrained(tmp_path / "model")
    run = tmp_path / "run"
    (run / "round_0").mkdir(parents=True)
    (run / "round_0/round.json").write_text(json.dumps({"losses": [[1, 2.0], [2, 1.0]]}))
    recipe = {
        "span_head": "linear",
        "base_model": "org/encoder",
        "train": ["questions.jsonl"],
        "learning_rate": 1e-4,
    }
    (run / "recipe.json").write_text(json.dumps(recipe))
    metrics = {
        "strong_f1": 0.25,
        "strong_f1_macro": 0.5,
        "weak_f1": 0.75,
        "num_mentions": 7,
        "num_entities": 6,
    }
    metrics |= {
        "with_nil/weak_f1": 0.1,
        "joint_threshold": -2.5,
        "dev_weak_f1": 0.9,
        "num_documents": 5,
        "seconds": 2,
    }
    (tmp_path / "metrics.json").write_text(json.dumps(metrics))
    notes = CardNotes(license="mit", runs=[run], metrics={"user/questions:val": tmp_path / "metrics.json"})
    push(tmp_path / "model", "user/elq-model", notes)
    files = hub.files("user/elq-model")
    card = files["README.md"].decode()
    assert "finds the mentions" in card and "ELQ, in-batch negatives" in card
    assert "F1, strong match" in card and "25.0" in card and "joint threshold | -4.5" in card
    assert {"modeling_elq.py", "processing_elq.py", "configuration_elq.py"} <= set(files)
    assert "entity_linker.py" not in files
    assert AutoModel.from_pretrained("user/elq-model").config.model_type == "elq"
