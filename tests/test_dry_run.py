"""`--dry_run` says what a run would do, refuses what it would refuse, and writes nothing."""

import json
import re
import shutil

import pytest
import torch
import yaml
from datasets import Dataset

from hf_blink.modeling.knowledge_base import KnowledgeBase
from hf_blink.training import train_biencoder, train_crossencoder, train_distillation
from hf_blink.training.dry_run import with_random_candidates, with_random_negatives
from hf_blink.training.token_lengths import token_lengths
from hf_blink.training.trial_steps import saved_for_backward

SCRIPTS = {
    "biencoder": train_biencoder,
    "crossencoder": train_crossencoder,
    "distillation": train_distillation,
}


@pytest.fixture
def start(tiny_encoder, bi_encoder, cross_encoder, processor, tmp_path, entities, capsys):
    """Starts a dry run of a script on the eight mentions of the tests; gives what it printed."""
    for name, model in (("bi", bi_encoder), ("cross", cross_encoder)):
        model.save_pretrained(tmp_path / name)
        processor.save_pretrained(tmp_path / name)
    labels = [[entity["id"]] for entity in entities]
    mentions = [
        {
            "context_left": "the town of " * 10,
            "mention": entity["title"],
            "context_right": "",
            "label_ids": label,
            "world": entity["world"],
        }
        for entity, label in zip(entities, labels, strict=True)
    ]
    nil = {**mentions[0], "label_ids": [], "nil": True}
    for name, rows in (("entities", entities), ("mentions", [*mentions, nil, mentions[0]])):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    models: dict[str, dict] = {
        "biencoder": {"base_model": tiny_encoder, "mention_length": 32, "entity_length": 32, "mined_negatives": 1},
        "crossencoder": {"bi_encoder": str(tmp_path / "bi"), "num_candidates": 2},
        "distillation": {
            "bi_encoder": str(tmp_path / "bi"), "cross_encoder": str(tmp_path / "cross"), "num_candidates": 2
        },
    }  # fmt: skip
    common = {
        "entities": [str(tmp_path / "entities.jsonl")], "train": [str(tmp_path / "mentions.jsonl")],
        "output_dir": str(tmp_path / "out"), "per_device_train_batch_size": 2, "use_cpu": True,
    }  # fmt: skip

    def start(script: str, *options: str, **changes) -> str:
        recipe = tmp_path / "recipe.yaml"
        recipe.write_text(yaml.safe_dump({**common, **models[script], **changes}))
        capsys.readouterr()
        assert SCRIPTS[script].main([str(recipe), "--dry-run", *options]) == {}
        assert not (tmp_path / "out").exists()
        return capsys.readouterr().out

    return start


def test_a_bi_encoders_run(start):
    said = start("biencoder", "--num_train_epochs", "3", "--gradient_accumulation_steps", "2")
    assert "entities             6 in 3 worlds, from 2 (animals) to 2 (places)" in said
    assert (
        "training mentions    8 in 3 worlds; label not in the knowledge base: 0; without label (NIL): 1"
        in said
    )
    assert "trained on           7 mentions of 6 entities" in said
    (lengths,) = re.findall(r"mention windows +(\d+) +\d+ +(\d+) +(\d+) +([\d.]+) %", said)
    assert lengths == ("35", "35", "32", "100.0")  # 4 + 10 x "the town of" + a name
    assert said.count("2 mentions x 1 processes x 2 accumulated = 4 a step") == 2
    # 7 mentions are 4 batches, 2 updates an epoch; the round of hard negatives is half as long
    assert "2 an epoch, 6 in all" in said and "2 an epoch, 3 in all" in said
    assert "and 4 hard negatives of each of its mentions" in said and "float32, on cpu" in said
    assert re.search(
        r"memory .* weights .* \(\d.* trained\), gradients .* optimizer .* \(all counted\);.*\(measured\)",
        said,
    )
    assert re.search(r"s a step \(measured\), about [\d.e-]+ s for 6 steps", said)
    assert said.endswith("dry run: nothing was written\n")


@pytest.mark.parametrize(
    ("script", "stage"), [("crossencoder", "cross-encoder"), ("distillation", "student")]
)
def test_the_other_scripts(start, tmp_path, script, stage):
    dev = str(shutil.copy(tmp_path / "mentions.jsonl", tmp_path / "dev.jsonl"))
    said = start(script, "--max_steps", "7", "--eval_strategy", "epoch", "--dev", dev)
    assert "dev mentions         8 in 3 worlds;" in said
    assert f"\n{stage}\n" in said and "4 an epoch, 7 in all" in said and "2 candidates" in said


def test_what_the_run_would_refuse_is_refused_after_its_numbers(start, tmp_path, capsys):
    bad = {"context_left": "", "mention": "x", "context_right": "", "label_id": "nobody"}
    with (tmp_path / "mentions.jsonl").open("a") as file:
        file.write(json.dumps(bad) + "\n")
    with pytest.raises(ValueError, match="train: expected label_ids .*: 'nobody'"):
        start("biencoder")
    assert "label not in the knowledge base: 1;" in capsys.readouterr().out
    (tmp_path / "mentions.jsonl").write_text(json.dumps({**bad, "label_id": "paris-fr"}) + "\n")
    with pytest.raises(ValueError, match="expected a batch of at most 6 mentions"):
        start("biencoder", per_device_train_batch_size=7)


def test_random_entities_are_of_the_mentions_world(entities):
    knowledge_base = KnowledgeBase.from_entities(entities)
    mentions = Dataset.from_list(
        [{"label_ids": ["puma-cat"], "world": "animals"}, {"label_ids": ["paris-fr"], "world": None}]
    )
    drawn = with_random_negatives(mentions, knowledge_base, 3, seed=1)["hard_negative_ids"][:]
    assert drawn[0] == ["jaguar-cat"] and len(set(drawn[1]) - {"paris-fr"}) == 3
    candidates = with_random_candidates(mentions, knowledge_base, 3, seed=1)
    assert candidates["candidate_ids"][0] == ["puma-cat", "jaguar-cat"]
    assert candidates["candidate_ids"][1][0] == "paris-fr" and candidates["teacher_scores"][1] == [0.0] * 3


def test_lengths_are_counted_before_cutting(processor, knowledge_base, mentions):
    of_mentions, of_entities, of_pairs = token_lengths(
        processor, knowledge_base, mentions.select([4]), seed=0
    )
    # [CLS] the capital [START] paris [END] of france [SEP]
    assert of_mentions.lengths.tolist() == [9] and not of_mentions.cut.any() and of_mentions.limit == 32
    assert len(of_entities.lengths) == 6 and of_pairs.limit == 63
    whole = processor.entity_windows(*knowledge_base.texts_at(range(6)))
    assert sorted(map(len, whole)) == sorted(of_entities.lengths.clip(max=32))
    assert of_pairs.lengths[0] == 9 + of_entities.lengths[4] - 1
    assert str(of_mentions) == "mention windows        9       9       9      32    0.0 %"


def test_bytes_kept_for_the_backward_pass_are_counted():
    layer = torch.nn.Linear(10, 20)
    with saved_for_backward() as kept:
        hidden = torch.relu(layer(torch.zeros(5, 10)))
        loss = hidden.sum()
        assert kept.now == 4 * (5 * 10 + 5 * 20)  # the input and what relu gave; not the weights
        loss.backward()
        del loss, hidden
    assert (kept.now, kept.most) == (0, 4 * (5 * 10 + 5 * 20))
