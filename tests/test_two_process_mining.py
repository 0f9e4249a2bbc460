"""Two real processes mine what one does, and refuse together what differs."""

import json

import pytest

from hf_blink.modeling.knowledge_base import KnowledgeBase
from tests.mining_example import NUM_MENTIONS, SETTINGS, example_entities, example_mentions, mined
from tests.two_processes import launch_two


@pytest.fixture(scope="module")
def results(tiny_encoder, processor, tmp_path_factory):
    from hf_blink.modeling.modeling_blink_biencoder import BlinkBiEncoder

    folder = tmp_path_factory.mktemp("mining")
    model = BlinkBiEncoder.from_encoder(tiny_encoder)
    for part in (model, processor):
        part.save_pretrained(folder / "model")
    entities = example_entities()
    alone = mined(model, processor, KnowledgeBase.from_entities(entities), example_mentions(entities))
    launch_two("tests.mining_example", str(folder), folder=folder)
    return alone, [json.loads((folder / f"{number}.json").read_text()) for number in (0, 1)]


def test_two_processes_mine_what_one_does(results):
    alone, both = results
    assert len(alone["rows"]) == NUM_MENTIONS and len(alone["rows"][0]) == SETTINGS.num_negatives
    assert 0 < sum(alone["gold_retrieved"]) < NUM_MENTIONS
    for found in both:
        assert found["num_processes"] == 2
        for name, values in alone.items():
            assert found[name] == values, name  # to the last bit: blocks do not depend on the processes


def test_processes_with_different_data_are_all_refused(results):
    _, both = results
    for found in both:
        lengths, mentions, entities, _ = found["refused"]
        assert (
            "same number of mentions in all 2 processes, got 1100 in process 0, 1099 in process 1" in lengths
        )
        assert "same fingerprint of the mentions in all 2 processes" in mentions
        assert "same knowledge base fingerprint in all 2 processes" in entities
    assert both[0]["refused"][3].endswith("process 1 stopped: MemoryError: no room")
    assert both[1]["refused"][3] == "MemoryError: no room"
