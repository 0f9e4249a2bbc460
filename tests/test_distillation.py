"""Teacher's scores, the batches that carry them, and a student that comes closer to its teacher."""

import pytest
import torch
from datasets import Dataset

from hf_blink.modeling.batch_encoding import encode_entities, encode_mentions
from hf_blink.modeling.modeling_blink_biencoder import BlinkBiEncoder
from hf_blink.modeling.modeling_blink_crossencoder import BlinkCrossEncoder
from hf_blink.training.collators import BiEncoderCollator, CrossEncoderCollator
from hf_blink.training.dataset_readers import contexts_of
from hf_blink.training.distillation import DistillationCollator, DistillationTrainer, add_teacher_scores
from hf_blink.training.distillation_losses import soft_kl_divergence
from hf_blink.training.hard_negatives import mine_candidates
from hf_blink.training.losses import in_batch_softmax_loss, target_and_ignored_columns
from hf_blink.training.trainers import InBatchTrainer
from tests.test_trainers import arguments


@pytest.fixture
def teacher(tiny_encoder) -> BlinkCrossEncoder:
    torch.manual_seed(5)
    model = BlinkCrossEncoder.from_encoder(tiny_encoder, pooling="mean", retrieval_weight=0.1)
    torch.nn.init.normal_(model.score.weight, std=3.0)  # scores that differ from the bi-encoder's
    return model.eval()


@pytest.fixture
def mined(linker, mentions) -> Dataset:
    return mine_candidates(linker, mentions, num_candidates=4, progress=False)


@pytest.fixture
def scored(teacher, processor, knowledge_base, mined) -> Dataset:
    return add_teacher_scores(teacher, processor, knowledge_base, mined, temperature=0.05, progress=False)


def divergence(student, processor, knowledge_base, dataset) -> float:
    """KL(teacher || student) over the candidates, from the models' own encodings."""
    total = 0.0
    for row in dataset:
        mention = encode_mentions(student, processor, contexts_of([row]))
        titles, descriptions = knowledge_base.texts_at(
            knowledge_base.find_rows(row["candidate_ids"]).tolist()
        )
        entities = encode_entities(student, processor, titles, descriptions)
        scores = torch.tensor(mention @ entities.T / student.config.temperature)
        total += soft_kl_divergence(scores, torch.tensor([row["teacher_scores"]])).item()
    return total / len(dataset)


def test_scores_are_those_of_the_cross_encoders_forward_in_the_order_of_candidates(
    teacher, processor, knowledge_base, scored
):
    rows = scored.to_list()
    batch = CrossEncoderCollator(processor, knowledge_base, 0.05)(rows)
    batch = {name: value for name, value in batch.items() if name not in ("gold", "mention_ids")}
    expected = teacher(**batch).scores
    assert torch.allclose(torch.tensor([row["teacher_scores"] for row in rows]), expected, atol=1e-4)
    assert len({tuple(row["teacher_scores"]) for row in rows}) == len(rows)


def test_scores_are_computed_anew_where_there_are_old_ones(teacher, processor, knowledge_base, scored):
    again = add_teacher_scores(teacher, processor, knowledge_base, scored, temperature=1e9, progress=False)
    assert again.column_names.count("teacher_scores") == 1
    assert again[0]["teacher_scores"] != scored[0]["teacher_scores"]


def test_scores_need_candidates_and_finite_weights(teacher, processor, knowledge_base, mentions, mined):
    def score(dataset):
        return add_teacher_scores(
            teacher, processor, knowledge_base, dataset, temperature=0.05, progress=False
        )

    with pytest.raises(ValueError, match="column candidate_ids and candidate_scores, got .*mine_candidates"):
        score(mentions)
    broken = [{**mined[0], "candidate_scores": [0.5]}]
    with pytest.raises(ValueError, match="score each for mention 0, got 4 candidates and 1 scores"):
        score(Dataset.from_list(broken))
    torch.nn.init.constant_(teacher.score.bias, float("nan"))
    with pytest.raises(ValueError, match=r"finite scores of the cross-encoder, got others .*\['0', '1', "):
        score(mined)


def test_a_batch_names_the_column_of_every_candidate(processor, knowledge_base, scored):
    rows = [
        scored[0],
        {**scored[1], "candidate_ids": scored[1]["candidate_ids"][:2], "teacher_scores": [2.0, 1.0]},
    ]
    batch = DistillationCollator(processor, knowledge_base)(rows)
    columns = batch["candidate_columns"]
    assert columns.shape == batch["teacher_scores"].shape == (2, 4)
    assert columns[1, 2:].tolist() == [-1, -1] and batch["teacher_scores"][1].tolist() == [2, 1, 0, 0]
    for row, found in zip(rows, columns, strict=True):
        kept = batch["entity_rows"][found[found >= 0]].tolist()
        assert knowledge_base.entity_ids(kept) == row["candidate_ids"]
    assert len(batch["entity_rows"].unique()) == len(batch["entity_rows"]) == len(batch["entity_input_ids"])


def test_a_batch_without_teacher_is_plain_and_half_of_one_is_refused(
    processor, knowledge_base, mentions, scored
):
    collator = DistillationCollator(processor, knowledge_base)
    assert "candidate_columns" not in collator([mentions[0]])
    with pytest.raises(ValueError, match="teacher's score each for mention 1; use add_teacher_scores"):
        collator([scored[0], mentions[1]])
    with pytest.raises(ValueError, match="teacher's score each for mention 0"):
        collator([{**scored[0], "teacher_scores": [1.0]}])


@pytest.mark.parametrize("dims", [[], [32, 8]])
def test_the_loss_is_alpha_times_in_batch_plus_the_rest_times_the_divergence(
    bi_encoder, processor, knowledge_base, scored, tmp_path, dims
):
    options = arguments(tmp_path, distillation_alpha=0.3, distillation_temperature=2.0, matryoshka_dims=dims)
    trainer = DistillationTrainer(
        bi_encoder, options, DistillationCollator(processor, knowledge_base), scored
    )
    batch = trainer.data_collator([scored[0], scored[1], scored[2]])
    loss = trainer.compute_loss(bi_encoder, batch).item()
    parts = []
    for dim in dims or [32]:
        model = bi_encoder.truncated(dim)
        mentions = model.encode_mentions(
            batch["mention_input_ids"], batch["mention_attention_mask"], batch["mention_spans"]
        )
        entities = model.encode_entities(batch["entity_input_ids"], batch["entity_attention_mask"])
        scores = mentions @ entities.T / 0.05
        columns = batch["entity_rows"], batch["targets"]
        hard = in_batch_softmax_loss(scores, *target_and_ignored_columns(batch["gold_rows"], *columns))
        student = scores.gather(1, batch["candidate_columns"])
        soft = soft_kl_divergence(student, batch["teacher_scores"], temperature=2.0)
        parts.append((0.3 * hard + 0.7 * soft).item())
    assert loss == pytest.approx(sum(parts) / len(parts), rel=1e-4)


def test_matryoshka_trains_every_bi_encoder_trainer(
    bi_encoder, processor, knowledge_base, mentions, tmp_path
):
    collator = BiEncoderCollator(processor, knowledge_base)
    losses = {}
    for dims in ((), (32,), (8,), (32, 8)):
        trainer = InBatchTrainer(
            bi_encoder, arguments(tmp_path, matryoshka_dims=list(dims)), collator, mentions
        )
        losses[dims] = trainer.compute_loss(bi_encoder, collator(mentions.to_list())).item()
    assert losses[()] == pytest.approx(losses[(32,)], rel=1e-5)
    assert losses[(32, 8)] == pytest.approx((losses[(32,)] + losses[(8,)]) / 2, rel=1e-5)
    assert losses[(8,)] != pytest.approx(losses[(32,)], rel=1e-3)


@pytest.mark.parametrize("chunk", [0, 3])
def test_a_student_comes_closer_to_its_teacher(
    bi_encoder, processor, knowledge_base, scored, tmp_path, chunk
):
    student = bi_encoder.with_layers(1)
    options = arguments(
        tmp_path, max_steps=40, learning_rate=2e-3, per_device_train_batch_size=8, distillation_alpha=0.1,
        gradient_cache_chunk=chunk,
    )  # fmt: skip
    collator = DistillationCollator(processor, knowledge_base)
    before = divergence(student, processor, knowledge_base, scored)
    trainer = DistillationTrainer(student, options, collator, scored)
    trainer.train()
    assert divergence(student, processor, knowledge_base, scored) < before / 2
    trainer.save_model()
    assert BlinkBiEncoder.from_pretrained(tmp_path).config.mention_config.num_hidden_layers == 1


def test_evaluation_on_labels_alone_and_missing_columns(
    bi_encoder, processor, knowledge_base, mentions, mined, scored, tmp_path
):
    collator = DistillationCollator(processor, knowledge_base)
    trainer = DistillationTrainer(bi_encoder, arguments(tmp_path), collator, scored)
    plain = InBatchTrainer(bi_encoder, arguments(tmp_path), collator, mentions)
    expected = plain.evaluate(mentions)["eval_loss"]
    assert trainer.evaluate(mentions)["eval_loss"] == pytest.approx(expected, rel=1e-5)
    with pytest.raises(ValueError, match="column teacher_scores, got .*add_teacher_scores"):
        DistillationTrainer(bi_encoder, arguments(tmp_path), collator, mined)


@pytest.mark.parametrize(
    "options", [{"distillation_alpha": 1.5}, {"distillation_temperature": 0}, {"distillation_loss": "mse"}]
)
def test_settings_that_make_no_sense_are_refused(tmp_path, options):
    with pytest.raises(ValueError, match="expected distillation_alpha from 0 to 1, .*cross_entropy, kl, got"):
        arguments(tmp_path, **options)


def test_a_loss_that_is_no_number_stops_the_student(bi_encoder, processor, knowledge_base, scored, tmp_path):
    torch.nn.init.constant_(bi_encoder.get_input_embeddings().weight, float("nan"))
    collator = DistillationCollator(processor, knowledge_base)
    options = arguments(tmp_path, per_device_train_batch_size=2)
    trainer = DistillationTrainer(bi_encoder, options, collator, scored.select(range(2)))
    with pytest.raises(
        FloatingPointError, match="loss of step 1, got nan, for the mentions (0, 1|1, 0); look"
    ):
        trainer.train()
