import copy
import dataclasses
import json
from typing import Any

import pytest

from hf_blink.hub_cards.card_data import (
    BiEncoderCard,
    CrossEncoderCard,
    ElqCard,
    ElqLinkerCard,
    IndexCard,
    KnowledgeBaseCard,
    LinkerCard,
)
from tests.hub_cards_examples import KINDS, facts


def changed(kind, path: str, value: Any):
    """A card with one value replaced; the path's parts are keys and positions."""
    values = copy.deepcopy(facts(kind))
    *way, last = [int(part) if part.isdigit() else part for part in path.split("/")]
    place: Any = values
    for part in way:
        place = place[part]
    place[last] = value
    return kind.from_dict(values)


@pytest.mark.parametrize("kind", KINDS)
def test_facts_survive_json(kind):
    card = kind.from_dict(facts(kind))
    assert kind.from_dict(json.loads(json.dumps(dataclasses.asdict(card)))) == card


@pytest.mark.parametrize("kind", KINDS)
def test_every_field_without_default_must_be_given(kind):
    needed = [field.name for field in dataclasses.fields(kind) if field.default is dataclasses.MISSING]
    assert {"repo_id", "license", "language"} < set(needed)
    for name in needed:
        values = {key: value for key, value in facts(kind).items() if key != name}
        with pytest.raises(ValueError, match=f"{kind.__name__}: expected a value for {name}, got none"):
            kind.from_dict(values)


@pytest.mark.parametrize("kind", KINDS)
def test_an_unknown_field_is_refused(kind):
    with pytest.raises(
        ValueError, match=rf"{kind.__name__}: expected fields among repo_id, .* got also stars"
    ):
        kind.from_dict({**facts(kind), "stars": 5})


@pytest.mark.parametrize(
    ("kind", "path", "value", "message"),
    [
        (LinkerCard, "repo_id", "/folder/linker", "LinkerCard.repo_id: expected a Hub name"),
        (LinkerCard, "license", "MIT licence", "LinkerCard.license: expected something like mit"),
        (LinkerCard, "license", "other", "'other' with license_name and license_link"),
        (LinkerCard, "license_name", "my own", "or another keyword without both, got 'mit', 'my own' and None"),
        (LinkerCard, "language", ["English"], "LinkerCard.language: expected something like en"),
        (LinkerCard, "language", "en", "LinkerCard.language: expected a list, got 'en'"),
        (LinkerCard, "example_text", "", "LinkerCard.example_text: expected a text"),
        (LinkerCard, "threshold", None, "LinkerCard.threshold: expected a finite number, got None"),
        (LinkerCard, "index/num_entities", 7, "LinkerCard.index: expected the 356 entities"),
        (LinkerCard, "training/0/base_model", "/folder/base", r"training\[0\]: TrainingFacts.base_model: expected a Hub"),
        (LinkerCard, "training/0/losses", [(1,)], r"TrainingFacts.losses: expected \(step, loss\), got"),
        (LinkerCard, "training/0/recalls", [(1, 2)], "TrainingFacts.recalls: expected a recall between 0 and 1"),
        (LinkerCard, "training/0/losses", [(1, float("nan"))], "TrainingFacts.losses: expected a finite number"),
        (LinkerCard, "training/0/title", "[More Information Needed]", "TrainingFacts.title: .* the placeholder"),
        (BiEncoderCard, "embed_dim", 0, "BiEncoderCard.embed_dim: expected an integer of at least 1"),
        (BiEncoderCard, "share_towers", "yes", "BiEncoderCard.share_towers: expected True or False"),
        (CrossEncoderCard, "subfolder", "../up", "CrossEncoderCard.subfolder: expected something like"),
        (CrossEncoderCard, "bi_encoder", "./here", "CrossEncoderCard.bi_encoder: expected a Hub name"),
        (ElqCard, "joint_threshold", "low", "ElqCard.joint_threshold: expected a finite number"),
        (ElqLinkerCard, "joint_threshold", None, "ElqLinkerCard.joint_threshold: expected a finite number, got None"),
        (ElqLinkerCard, "num_mentions", 0, "ElqLinkerCard.num_mentions: expected an integer of at least 1, got 0"),
        (ElqLinkerCard, "nested", 1, "ElqLinkerCard.nested: expected True or False, got 1"),
        (IndexCard, "index/encoder_fingerprint", "abc", "IndexFacts.encoder_fingerprint: .* 64 hexadecimal"),
        (KnowledgeBaseCard, "knowledge_base/worlds", {"a": 357}, r"worlds\['a'\]: expected at most 356 entities"),
        (KnowledgeBaseCard, "examples/0", "Paris", r"examples\[0\]: expected a mapping"),
    ],
)  # fmt: skip
def test_bad_values_are_named(kind, path, value, message):
    with pytest.raises(ValueError, match=message):
        changed(kind, path, value)


@pytest.mark.parametrize(
    "link", ["javascript:alert(1)", "https://a.b/)x", "https://a.b/ x", "http://a.b", "../LICENSE"]
)
def test_a_licence_link_is_an_address_or_the_licence_file(link):
    licence = {"license": "other", "license_name": "my own", "license_link": link}
    with pytest.raises(ValueError, match="license_link: expected something like"):
        IndexCard.from_dict({**facts(IndexCard), **licence})


def test_a_set_and_split_is_evaluated_once():
    evaluation = facts(LinkerCard)["evaluations"][0]
    with pytest.raises(ValueError, match="expected each set of mentions and split once"):
        changed(LinkerCard, "evaluations", [evaluation, evaluation])
    assert (
        len(changed(LinkerCard, "evaluations", [evaluation, {**evaluation, "split": "dev"}]).evaluations) == 2
    )
