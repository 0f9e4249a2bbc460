"""Tells from the names of the weights which model of BLINK or ELQ a file is, so that a wrong file is said to be what it is.

classification_heads.*                  ELQ
context_encoder.*, cand_encoder.*       BLINK's bi-encoder
encoder.bert_model.*                    BLINK's cross-encoder
bert.*, embeddings.*                    a BERT that nothing was trained on
"""

from collections.abc import Iterable

# Whose weights, the prefixes of their names, and where they are taken. ELQ has the bi-encoder's names too, so it is first.
_KINDS = (
    ("ELQ", ("classification_heads.",), "use `hf-blink import elq --model` (import_elq_model) for it"),
    (
        "BLINK's bi-encoder",
        ("context_encoder.", "cand_encoder."),
        "give it to --biencoder of `hf-blink import blink` (import_blink_biencoder)",
    ),
    (
        "BLINK's cross-encoder",
        ("encoder.bert_model.", "encoder.additional_linear."),
        "give it to --crossencoder of `hf-blink import blink` (import_blink_crossencoder)",
    ),
    ("a plain BERT", ("bert.", "embeddings."), "its folder is for --bert-model (bert_model=)"),
)


def refuse_other_kind(names: Iterable[str], source: str) -> None:
    """Refuses weights that are known to be another model's.

    Args:
        names: of the weights in the file.
        source: whose are wanted, as its name table says.

    Raises:
        ValueError: they are another's; says whose, and where they are taken.
    """
    plain = [str(name).removeprefix("module.") for name in names]
    for kind, prefixes, advice in _KINDS:
        if any(name.startswith(prefixes) for name in plain):
            if kind != source:
                raise ValueError(f"expected the weights of {source}, got those of {kind}; {advice}")
            return
