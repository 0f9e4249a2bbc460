"""Chunks of a batch: how they are cut, that dropout repeats, and that accumulation counts once."""

from contextlib import nullcontext

import pytest
import torch

from hf_blink.modeling.modeling_blink_biencoder import BlinkBiEncoder
from hf_blink.training.arguments import BlinkTrainingArguments
from hf_blink.training.collators import BiEncoderCollator
from hf_blink.training.gradient_cache import cached_step, chunks_of
from hf_blink.training.trainers import InBatchTrainer


def test_chunks_have_mentions_and_entities_each(processor, knowledge_base, mentions):
    batch = BiEncoderCollator(processor, knowledge_base)(list(mentions))
    sizes = [(len(part["mention_input_ids"]), len(part["entity_input_ids"])) for part in chunks_of(batch, 3)]
    assert sizes == [(3, 2), (3, 2), (2, 2)]
    for name in ("mention_input_ids", "mention_spans", "entity_attention_mask"):
        assert torch.equal(torch.cat([part[name] for part in chunks_of(batch, 3)]), batch[name])
    few = BiEncoderCollator(processor, knowledge_base)(list(mentions)[:2])
    assert len(chunks_of(few, 1)) == 2
    one_entity = BiEncoderCollator(processor, knowledge_base)([mentions[4], mentions[6]])
    assert len(chunks_of(one_entity, 1)) == 1, "a part without an entity would leave its tower out"


def test_dropout_is_the_same_in_both_passes(tiny_encoder, processor, knowledge_base, mentions):
    """The vectors of the second pass are those of the first, so each gradient belongs to its vector."""
    model = BlinkBiEncoder.from_encoder(tiny_encoder).train()
    seen: list[torch.Tensor] = []

    def encode(chunk):
        output = model(**chunk)
        seen.append(output.mention_embeddings.detach())
        return output.mention_embeddings, output.entity_embeddings

    chunks = chunks_of(BiEncoderCollator(processor, knowledge_base)(list(mentions)), 3)
    loss = cached_step(chunks, encode, lambda m, e: (m @ e.T).sum(), torch.Tensor.backward, nullcontext)
    assert len(seen) == 2 * len(chunks) and loss.requires_grad is False
    for first, second in zip(seen[: len(chunks)], seen[len(chunks) :], strict=True):
        assert torch.equal(first, second)
    assert not torch.equal(encode(chunks[0])[0], seen[0]), "dropout is on"


@pytest.mark.parametrize("chunk", [0, 2])
def test_accumulated_steps_average_with_and_without_chunks(
    tiny_encoder, processor, knowledge_base, mentions, tmp_path, chunk
):
    weights = []
    for parts in (1, 3):
        model = BlinkBiEncoder.from_encoder(tiny_encoder)
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        options = BlinkTrainingArguments(
            str(tmp_path), max_steps=1, per_device_train_batch_size=4, gradient_accumulation_steps=parts,
            gradient_cache_chunk=chunk, optim="sgd", learning_rate=0.1, warmup_steps=0, max_grad_norm=0.0,
            weight_decay=0.0, use_cpu=True, save_strategy="no", disable_tqdm=True,
        )  # fmt: skip
        collator = BiEncoderCollator(processor, knowledge_base)
        trainer = InBatchTrainer(model, options, collator, mentions)
        trainer.data_collator = lambda items, collator=collator: collator(list(mentions)[:4])
        trainer.train()
        weights.append(model.get_input_embeddings().weight.detach().clone())
    start = BlinkBiEncoder.from_encoder(tiny_encoder).get_input_embeddings().weight
    assert (weights[0] - start).abs().max() > 1e-4
    assert torch.allclose(weights[0], weights[1], atol=1e-6)
