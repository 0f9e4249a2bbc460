import pytest
import torch
from datasets import Dataset

from hf_blink.modeling.entity_linker import EntityLinker
from hf_blink.modeling.modeling_blink_biencoder import BlinkBiEncoder
from hf_blink.modeling.modeling_blink_crossencoder import BlinkCrossEncoder
from hf_blink.modeling.processing_blink import BlinkProcessor
from hf_blink.training.arguments import BlinkTrainingArguments
from hf_blink.training.collators import BiEncoderCollator, CrossEncoderCollator
from hf_blink.training.hard_negatives import mine_candidates, mine_hard_negatives
from hf_blink.training.trainers import CrossEncoderTrainer, HardNegativeTrainer, InBatchTrainer

SENTENCES = [
    ("a spotted cat, the", "jaguar", "slept in the forest", ["jaguar-cat"]),
    ("the car maker", "jaguar", "is for sale", ["jaguar-car"]),
    ("a big", "puma", "of the river", ["puma-cat"]),
    ("new shoes of", "puma", "for sport", ["puma-shoe"]),
    ("the capital", "paris", "of france", ["paris-fr"]),
    ("a town called", "paris", "in texas", ["paris-tx"]),
    ("in", "paris", "is the louvre", ["paris-fr"]),
    ("jaguar and", "puma", "are cats", ["puma-cat", "jaguar-cat"]),
]


@pytest.fixture(scope="session")
def mentions() -> Dataset:
    return Dataset.from_list(
        [
            {
                "id": str(i),
                "context_left": left,
                "mention": mention,
                "context_right": right,
                "label_ids": labels,
                "world": None,
            }
            for i, (left, mention, right, labels) in enumerate(SENTENCES)
        ]
    )


@pytest.fixture
def linker(bi_encoder, processor, knowledge_base):
    return EntityLinker.from_knowledge_base(knowledge_base, bi_encoder, processor=processor, progress=False)


def arguments(folder, **options):
    defaults = {
        "max_steps": 3,
        "per_device_train_batch_size": 4,
        "use_cpu": True,
        "disable_tqdm": True,
        "seed": 3,
    }
    return BlinkTrainingArguments(
        str(folder), **{**defaults, "save_strategy": "no", "logging_strategy": "no", **options}
    )


def test_biencoder_batch_holds_each_entity_once_and_masks_other_golds(processor, knowledge_base, mentions):
    rows = [mentions[4], mentions[6], mentions[0], mentions[7]]
    torch.manual_seed(0)
    batch = BiEncoderCollator(processor, knowledge_base)(rows)
    columns = batch["entity_rows"].tolist()
    assert len(set(columns)) == len(columns)
    assert columns[0] == knowledge_base.entity_row("paris-fr")
    assert batch["targets"][0] == batch["targets"][1] == 0, "two mentions of one entity share its column"
    golds = [[knowledge_base.entity_row(label) for label in row["label_ids"]] for row in rows]
    for i, gold in enumerate(golds):
        for j, column in enumerate(columns):
            assert bool(batch["ignore"][i, j]) == (column in gold and j != batch["targets"][i])
    assert batch["ignore"].shape == (4, len(columns))
    assert batch["entity_input_ids"].shape[0] == len(columns)


def test_biencoder_batch_adds_hard_negatives_and_never_a_mentions_gold(processor, knowledge_base, mentions):
    rows = [
        {**mentions[0], "hard_negative_ids": ["jaguar-car", "puma-cat"]},
        {**mentions[1], "hard_negative_ids": ["jaguar-cat"]},
    ]
    batch = BiEncoderCollator(processor, knowledge_base, num_hard_negatives=2)(rows)
    ids = knowledge_base.entity_ids(batch["entity_rows"].tolist())
    assert ids[:2] == ["jaguar-cat", "jaguar-car"] and set(ids) == {"jaguar-cat", "jaguar-car", "puma-cat"}
    assert not batch["ignore"].any()


def test_collators_refuse_unknown_and_missing_gold(processor, knowledge_base, mentions):
    collator = BiEncoderCollator(processor, knowledge_base)
    with pytest.raises(ValueError, match=r"\['nobody'\]"):
        collator([{**mentions[0], "label_ids": ["nobody"]}])
    with pytest.raises(ValueError, match="at least one gold"):
        collator([{**mentions[0], "label_ids": []}])
    with pytest.raises(ValueError, match="mine_candidates"):
        CrossEncoderCollator(processor, knowledge_base)(
            [{**mentions[0], "candidate_ids": ["paris-fr"], "candidate_scores": [1.0]}]
        )


def test_mined_negatives_are_the_models_top_without_gold(linker, mentions):
    mined = mine_hard_negatives(linker, mentions, num_negatives=3, progress=False)
    contexts = linker.link(["a big puma of the river"], [[(6, 10)]])[0][0].candidates
    expected = [
        candidate.entity.entity_id for candidate in contexts if candidate.entity.entity_id != "puma-cat"
    ][:3]
    assert mined[2]["hard_negative_ids"] == expected
    for row in mined:
        assert len(row["hard_negative_ids"]) == 3 and not set(row["hard_negative_ids"]) & set(
            row["label_ids"]
        )
    shifted = mine_hard_negatives(linker, mentions, num_negatives=3, range_min=1, progress=False)
    assert shifted[2]["hard_negative_ids"][:2] == expected[1:]
    with pytest.raises(ValueError, match="num_negatives >= 1"):
        mine_hard_negatives(linker, mentions, num_negatives=0)


def test_mined_candidates_hold_the_gold_with_its_own_score(linker, mentions):
    mined = mine_candidates(linker, mentions, num_candidates=2, progress=False)
    assert len(mined) == len(mentions) and not all(mined["gold_retrieved"])
    for row in mined:
        assert len(row["candidate_ids"]) == 2 and set(row["candidate_ids"]) & set(row["label_ids"])
        if not row["gold_retrieved"]:
            context = f"{row['context_left']} {row['mention']} {row['context_right']}"
            start = len(row["context_left"]) + 1
            candidates = linker.link(context, [(start, start + len(row["mention"]))], top_k=6)[0].candidates
            score = {c.entity.entity_id: c.retrieval_score for c in candidates}[row["candidate_ids"][-1]]
            assert row["candidate_scores"][-1] == pytest.approx(score, abs=1e-4)
            assert row["candidate_scores"][-1] <= row["candidate_scores"][0]


def test_mining_stays_in_the_mentions_world(linker, mentions):
    worlds = mentions.select([0]).remove_columns("world").add_column("world", ["animals"])
    assert mine_hard_negatives(linker, worlds, num_negatives=5, progress=False)[0]["hard_negative_ids"] == [
        "puma-cat"
    ]


def test_in_batch_loss_is_the_softmax_of_the_models_scores(
    bi_encoder, processor, knowledge_base, mentions, tmp_path
):
    trainer = InBatchTrainer(
        bi_encoder, arguments(tmp_path), BiEncoderCollator(processor, knowledge_base), mentions
    )
    batch = trainer.data_collator([mentions[0], mentions[1]])
    loss = trainer.compute_loss(bi_encoder, batch)
    scores = (
        bi_encoder.encode_mentions(
            batch["mention_input_ids"], batch["mention_attention_mask"], batch["mention_spans"]
        )
        @ bi_encoder.encode_entities(batch["entity_input_ids"], batch["entity_attention_mask"]).T
        / 0.05
    )
    expected = -(scores.log_softmax(dim=1).diagonal()).mean()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)


def test_training_improves_the_fit_and_saves_a_loadable_folder(
    bi_encoder, processor, knowledge_base, mentions, tmp_path
):
    collator = BiEncoderCollator(processor, knowledge_base)
    options = arguments(tmp_path, max_steps=30, learning_rate=2e-3, per_device_train_batch_size=8)
    trainer = InBatchTrainer(bi_encoder, options, collator, mentions.select(range(7)))
    before = trainer.evaluate(mentions.select(range(7)))["eval_loss"]
    trainer.train()
    assert trainer.evaluate(mentions.select(range(7)))["eval_loss"] < before / 2
    trainer.save_model()
    loaded = BlinkBiEncoder.from_pretrained(tmp_path)
    linker = EntityLinker.from_knowledge_base(
        knowledge_base, loaded, processor=BlinkProcessor.from_pretrained(tmp_path), progress=False
    )
    assert linker.link("the car maker jaguar is for sale", [(14, 20)])[0].entity.entity_id == "jaguar-car"


def test_hard_negative_trainer_uses_its_columns(
    linker, bi_encoder, processor, knowledge_base, mentions, tmp_path
):
    collator = BiEncoderCollator(processor, knowledge_base)
    mined = mine_hard_negatives(linker, mentions, num_negatives=3, progress=False)
    trainer = HardNegativeTrainer(bi_encoder, arguments(tmp_path, num_hard_negatives=2), collator, mined)
    assert collator.num_hard_negatives == 2
    assert len(trainer.data_collator([mined[0]])["entity_rows"]) == 3
    trainer.train()
    with pytest.raises(ValueError, match="hard_negative_ids"):
        HardNegativeTrainer(bi_encoder, arguments(tmp_path), collator, mentions)


def test_cross_encoder_trainer_learns_to_pick_the_gold(
    linker, tiny_encoder, processor, knowledge_base, mentions, tmp_path
):
    mined = mine_candidates(linker, mentions.select(range(7)), num_candidates=4, progress=False)
    torch.manual_seed(0)
    model = BlinkCrossEncoder.from_encoder(tiny_encoder, pooling="mean", dropout=0.0)
    options = arguments(tmp_path, max_steps=40, learning_rate=3e-3, per_device_train_batch_size=7)
    trainer = CrossEncoderTrainer(model, options, CrossEncoderCollator(processor, knowledge_base), mined)
    before = trainer.evaluate(mined)["eval_loss"]
    trainer.train()
    assert trainer.evaluate(mined)["eval_loss"] < before / 2
    trainer.save_model()
    assert BlinkCrossEncoder.from_pretrained(tmp_path).config.pooling == "mean"
    with pytest.raises(ValueError, match="candidate_ids"):
        CrossEncoderTrainer(model, options, CrossEncoderCollator(processor, knowledge_base), mentions)


def test_gradient_accumulation_averages_equal_parts(
    tiny_encoder, processor, knowledge_base, mentions, tmp_path
):
    """Four equal batches in one step move the weights exactly as one of them does."""
    collator = BiEncoderCollator(processor, knowledge_base)
    weights = []
    for parts in (1, 4):
        model = BlinkBiEncoder.from_encoder(tiny_encoder)
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        options = arguments(
            tmp_path, max_steps=1, per_device_train_batch_size=2, gradient_accumulation_steps=parts, optim="sgd",
            learning_rate=0.1, warmup_steps=0, max_grad_norm=0.0, weight_decay=0.0,
        )  # fmt: skip
        trainer = InBatchTrainer(model, options, collator, mentions)
        trainer.data_collator = lambda items: collator([mentions[0], mentions[1]])
        trainer.train()
        weights.append(model.get_input_embeddings().weight.detach().clone())
    start = BlinkBiEncoder.from_encoder(tiny_encoder).get_input_embeddings().weight
    assert (weights[0] - start).abs().max() > 1e-4
    assert torch.allclose(weights[0], weights[1], atol=1e-6)


def test_arguments_refuse_what_breaks_the_collators(tmp_path):
    with pytest.raises(ValueError, match="remove_unused_columns=False"):
        BlinkTrainingArguments(str(tmp_path), remove_unused_columns=True)
    with pytest.raises(ValueError, match="num_hard_negatives"):
        BlinkTrainingArguments(str(tmp_path), num_hard_negatives=-1)
