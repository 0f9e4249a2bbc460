"""Weights of another kind of model are called by its name."""

import pytest

from hf_blink.weight_kinds import refuse_other_kind

NAMES = {
    "BLINK's bi-encoder": ["context_encoder.bert_model.w", "cand_encoder.bert_model.w"],
    "BLINK's cross-encoder": ["encoder.bert_model.w", "encoder.additional_linear.bias"],
    "ELQ": [
        "context_encoder.bert_model.w",
        "cand_encoder.bert_model.w",
        "classification_heads.mention_scores.w",
    ],
    "a plain BERT": ["embeddings.word_embeddings.weight", "encoder.layer.0.w"],
}
PLACES = {
    "BLINK's bi-encoder": "--biencoder of `hf-blink import blink`",
    "BLINK's cross-encoder": "--crossencoder of `hf-blink import blink`",
    "ELQ": "use `hf-blink import elq --model`",
    "a plain BERT": "--bert-model",
}


@pytest.mark.parametrize("source", list(NAMES)[:3])
@pytest.mark.parametrize("kind", NAMES)
@pytest.mark.parametrize("prefix", ["", "module."])
def test_another_kind_is_named_with_its_place(source, kind, prefix):
    names = [prefix + name for name in NAMES[kind]]
    if kind == source:
        refuse_other_kind(names, source)
        return
    with pytest.raises(
        ValueError, match=f"expected the weights of {source}, got those of {kind}; .*{PLACES[kind]}"
    ):
        refuse_other_kind(names, source)


def test_unknown_names_are_left_to_the_name_table():
    refuse_other_kind(["head.w"], "ELQ")
    refuse_other_kind([], "ELQ")
