"""A tiny ELQ model whose span head finds the words of the tests' vocabulary that are names, and its linker."""

from typing import Any

import torch

from hf_blink.modeling.entity_linker import EntityLinker
from hf_blink.modeling.modeling_elq import ElqModel
from hf_blink.modeling.processing_elq import ElqProcessor

NAMES = ("paris", "jaguar", "puma")


def elq_processor(encoder: str, **settings) -> ElqProcessor:
    return ElqProcessor.from_base(encoder, **{"mention_length": 32, "entity_length": 32, **settings})


def elq_model(encoder: str, seed: int = 0, **settings) -> ElqModel:
    """An untrained model with a seeded head."""
    torch.manual_seed(seed)
    return ElqModel.from_encoder(encoder, share_towers=True, **settings).eval()


def name_finder(encoder: str, processor: ElqProcessor, **settings) -> ElqModel:
    """A model that takes exactly the words of `NAMES` for mentions, each with a logit of about 4.

    The layers add nothing to the token embeddings, whose first dimension is large, positive for a name and negative for
    any other token; the head reads that dimension.
    """
    model = elq_model(encoder, **settings)
    words = processor.tokenizer.get_vocab()
    with torch.no_grad():
        tower: Any = model.mention_encoder
        for layer in tower.encoder.layer:
            for part in (layer.attention.output.dense, layer.output.dense):
                part.weight.zero_()
                part.bias.zero_()
        embeddings = model.get_input_embeddings().weight
        embeddings[:, 0] = -10.0
        embeddings[[words[name] for name in NAMES], 0] = 10.0
        head: Any = model.span_head
        head.weight.zero_()
        head.weight[[0, 2], 0] = 1.0  # about 5 or -5 after the layer norm
        head.bias.copy_(torch.tensor([0.0, 0.0, -6.0]))
    return model


def elq_linker(
    encoder: str, knowledge_base, *, cross_encoder=None, num_candidates=16, **settings
) -> EntityLinker:
    """A linker that finds the words of `NAMES`."""
    processor = elq_processor(encoder)
    model = name_finder(encoder, processor, **settings)
    return EntityLinker.from_knowledge_base(
        knowledge_base,
        model,
        processor=processor,
        progress=False,
        cross_encoder=cross_encoder,
        num_candidates=num_candidates,
    )
