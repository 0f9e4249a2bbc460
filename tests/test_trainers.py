from typing import Any, cast

import pytest
import torch
from transformers.trainer_utils import align_special_tokens

from hf_blink.modeling.entity_linker import EntityLinker
from hf_blink.modeling.modeling_blink_biencoder import BlinkBiEncoder
from hf_blink.modeling.modeling_blink_crossencoder import BlinkCrossEncoder
from hf_blink.modeling.processing_blink import BlinkProcessor
from hf_blink.training.arguments import BlinkTrainingArguments
from hf_blink.training.collators import BiEncoderCollator, CrossEncoderCollator
from hf_blink.training.cross_encoder_trainer import CrossEncoderTrainer
from hf_blink.training.hard_negatives import mine_candidates, mine_hard_negatives
from hf_blink.training.trainers import HardNegativeTrainer, InBatchTrainer


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
    assert collator.num_hard_negatives == 0, "the caller's collator stays as it was"
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
    trainer = CrossEncoderTrainer(
        model, options, CrossEncoderCollator(processor, knowledge_base, 0.05), mined
    )
    before = trainer.evaluate(mined)["eval_loss"]
    trainer.train()
    assert trainer.evaluate(mined)["eval_loss"] < before / 2
    in_training: Any = trainer.get_train_dataloader().collate_fn
    assert in_training.random_order and not cast(Any, trainer.data_collator).random_order
    trainer.save_model()
    assert BlinkCrossEncoder.from_pretrained(tmp_path).config.pooling == "mean"
    with pytest.raises(ValueError, match="candidate_ids"):
        CrossEncoderTrainer(model, options, CrossEncoderCollator(processor, knowledge_base, 0.05), mentions)


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


def test_the_trainer_has_no_ids_of_the_tokenizer_to_correct(
    bi_encoder, cross_encoder, processor, monkeypatch
):
    warned: list[str] = []
    monkeypatch.setattr("transformers.trainer_utils.logger.warning", warned.append)
    for model in (bi_encoder, cross_encoder):
        align_special_tokens(model, processor)
    assert not warned
    bi_encoder.config.pad_token_id = 7
    align_special_tokens(bi_encoder, processor)
    assert len(warned) == 1  # what the Trainer says where they differ


@pytest.mark.parametrize("trainer_class", [InBatchTrainer, CrossEncoderTrainer])
def test_several_gpus_in_one_process_are_refused(
    bi_encoder, processor, knowledge_base, mentions, tmp_path, trainer_class
):
    """DataParallel would split `ignore` by rows although its columns are those of the whole batch."""
    options = arguments(tmp_path)
    options._n_gpu = 4
    collator = BiEncoderCollator(processor, knowledge_base)
    with pytest.raises(ValueError, match="expected one GPU a process, got 4; start with accelerate launch"):
        trainer_class(bi_encoder, options, collator, mentions)


def test_evaluation_gives_recall_and_the_best_model_is_kept(
    bi_encoder, processor, knowledge_base, mentions, tmp_path
):
    options = arguments(
        tmp_path, max_steps=6, eval_strategy="steps", eval_steps=1, save_strategy="steps", save_steps=1,
        early_stopping_patience=2, learning_rate=0.0,
    )  # fmt: skip
    collator = BiEncoderCollator(processor, knowledge_base)
    trainer = InBatchTrainer(bi_encoder, options, collator, mentions, eval_dataset=mentions)
    trainer.train()
    first = trainer.state.log_history[0]
    assert first["eval_recall@64"] == 1.0 and 0 < first["eval_recall@1"] <= first["eval_recall@4"]
    assert trainer.state.best_metric == 1.0 and str(trainer.state.best_model_checkpoint).endswith(
        "checkpoint-1"
    )
    assert trainer.state.global_step == 3, "nothing better in two more evaluations"


@pytest.mark.parametrize("chunk", [0, 1])
def test_a_loss_that_is_no_number_stops_the_run_before_the_step(
    bi_encoder, processor, knowledge_base, mentions, tmp_path, chunk
):
    collator = BiEncoderCollator(processor, knowledge_base)
    options = arguments(tmp_path, per_device_train_batch_size=2, gradient_cache_chunk=chunk)
    trainer = InBatchTrainer(bi_encoder, options, collator, mentions.select(range(2)))
    before = bi_encoder.get_input_embeddings().weight.detach().clone()
    trainer.vectors_loss = lambda mentions, entities, inputs: (mentions.sum() + entities.sum()) * float("nan")  # type: ignore[method-assign]
    with pytest.raises(
        FloatingPointError, match=r"loss of step 1, got nan, for the mentions (0, 1|1, 0); look"
    ):
        trainer.train()
    assert torch.equal(bi_encoder.get_input_embeddings().weight, before)


def test_a_loss_that_is_no_number_stops_the_cross_encoder_too(
    linker, cross_encoder, processor, knowledge_base, mentions, tmp_path
):
    mined = mine_candidates(linker, mentions.select(range(2)), num_candidates=2, progress=False)
    torch.nn.init.constant_(cross_encoder.score.bias, float("nan"))
    options = arguments(tmp_path, per_device_train_batch_size=2)
    trainer = CrossEncoderTrainer(
        cross_encoder, options, CrossEncoderCollator(processor, knowledge_base, 0.05), mined
    )
    with pytest.raises(
        FloatingPointError, match=r"loss of step 1, got nan, for the mentions (0, 1|1, 0); look"
    ):
        trainer.train()


def test_blinks_optimizer_leaves_embeddings_and_decays_norms(
    bi_encoder, processor, knowledge_base, mentions, tmp_path
):
    options = arguments(tmp_path, blink_optimizer=True, unique_entities=False, fixed_length=True)
    trainer = InBatchTrainer(bi_encoder, options, BiEncoderCollator(processor, knowledge_base), mentions)
    before = {name: value.detach().clone() for name, value in bi_encoder.named_parameters()}
    trainer.train()
    decayed = set(trainer.get_decay_parameter_names(bi_encoder))
    for name, value in bi_encoder.named_parameters():
        assert torch.equal(value, before[name]) == ("embeddings" in name), name
        assert (name in decayed) == ("bias" not in name)


def test_unknown_numbers_of_the_arguments_are_refused(tmp_path):
    for name in ("num_hard_negatives", "mine_every_steps", "gradient_cache_chunk", "early_stopping_patience"):
        with pytest.raises(ValueError, match=f"expected {name} of at least 0, got -1"):
            arguments(tmp_path, **{name: -1})
