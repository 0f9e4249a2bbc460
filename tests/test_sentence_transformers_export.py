"""A tower in sentence-transformers gives the vectors that it gives here."""

from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from hf_blink.modeling.batch_encoding import encode_entities, encode_mentions
from hf_blink.modeling.linking_types import MentionContext
from hf_blink.modeling.modeling_blink_biencoder import BlinkBiEncoder
from hf_blink.modeling.processing_blink import BlinkProcessor
from hf_blink.sentence_transformers_export import entity_text, export_sentence_transformers

TITLES = ["Jaguar", "Paris", "Puma", ""]
DESCRIPTIONS = [
    "A large spotted cat of American forests, " * 5,
    "The capital of France.",
    "",
    "[SEP] without a title",
]


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"entity_pooling": "cls", "similarity": "dot"},
        {"projection_dim": 8},
        {"share_towers": False, "projection_dim": 8, "similarity": "dot"},
        {"truncate_dim": 4},
        {"truncate_dim": 4, "similarity": "dot"},
        {"truncate_dim": 4, "projection_dim": 8},
    ],
)
def test_entities_have_the_same_vectors(tiny_encoder, processor, tmp_path, settings):
    bi_encoder = BlinkBiEncoder.from_encoder(tiny_encoder, **settings).eval()
    export_sentence_transformers(bi_encoder, processor, tmp_path / "tower")
    exported = SentenceTransformer(str(tmp_path / "tower"), device="cpu")
    texts = [entity_text(processor, *pair) for pair in zip(TITLES[:3], DESCRIPTIONS[:3], strict=True)]
    expected = encode_entities(bi_encoder, processor, TITLES[:3], DESCRIPTIONS[:3])
    assert np.abs(exported.encode(texts) - expected).max() < 1e-5
    assert expected.shape == (3, settings.get("truncate_dim", settings.get("projection_dim", 32)))


def test_mentions_have_the_same_vectors(tiny_encoder, processor, tmp_path):
    bi_encoder = BlinkBiEncoder.from_encoder(tiny_encoder, mention_pooling="mean").eval()
    export_sentence_transformers(bi_encoder, processor, tmp_path / "tower", tower="mention")
    exported = SentenceTransformer(str(tmp_path / "tower"), device="cpu")
    text = f"the capital{processor.mention_start}Paris{processor.mention_end}of France"
    expected = encode_mentions(bi_encoder, processor, [MentionContext("the capital", "Paris", "of France")])
    assert np.abs(exported.encode([text]) - expected).max() < 1e-5


def test_byte_level_tokenizers_give_the_same_vectors(tmp_path):
    """In them a space belongs to the next word, so that the marker must touch both sides."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: i for i, token in enumerate(["<pad>", "<s>", "</s>", *alphabet])}
    backend = Tokenizer(models.BPE(vocabulary, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    special = {"pad_token": "<pad>", "cls_token": "<s>", "sep_token": "</s>"}
    PreTrainedTokenizerFast(tokenizer_object=backend, **special).save_pretrained(tmp_path / "base")
    torch.manual_seed(0)
    sizes: dict[str, Any] = {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 32,
    }
    BertModel(BertConfig(vocab_size=len(vocabulary), **sizes)).save_pretrained(tmp_path / "base")
    processor = BlinkProcessor.from_base(str(tmp_path / "base"), mention_length=32, entity_length=32)
    size = len(processor.tokenizer)
    bi_encoder = BlinkBiEncoder.from_encoder(str(tmp_path / "base"), vocab_size=size, similarity="dot").eval()
    export_sentence_transformers(bi_encoder, processor, tmp_path / "tower")
    exported = SentenceTransformer(str(tmp_path / "tower"), device="cpu")
    texts = [entity_text(processor, "Paris", "The  capital of France.")]
    expected = encode_entities(bi_encoder, processor, ["Paris"], ["The  capital of France."])
    assert np.abs(exported.encode(texts) - expected).max() < 1e-5


def test_what_has_no_counterpart_is_refused(bi_encoder, processor, tmp_path):
    with pytest.raises(ValueError, match="cls or mean pooling, got mention_span"):
        export_sentence_transformers(bi_encoder, processor, tmp_path / "tower", tower="mention")
    with pytest.raises(ValueError, match="'entity' or 'mention', got 'both'"):
        export_sentence_transformers(bi_encoder, processor, tmp_path / "tower", tower="both")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ValueError, match="new or empty folder"):
        export_sentence_transformers(bi_encoder, processor, tmp_path)
    assert not (tmp_path / "tower").exists()
