"""A training with divided weights (FSDP) is that of one with whole ones, and its model is made whole again."""

import copy

import torch

from hf_blink.training.collators import BiEncoderCollator
from hf_blink.training.whole_weights import whole_model
from tests.divided_example import part_of, step
from tests.two_processes import launch_two


def test_divided_weights_take_the_steps_of_whole_ones(
    bi_encoder, processor, knowledge_base, mentions, tmp_path
):
    """A plain step, and one in chunks of which the processes have different numbers."""
    assert whole_model(bi_encoder) is bi_encoder
    bi_encoder.save_pretrained(tmp_path / "model")
    batch = BiEncoderCollator(processor, knowledge_base)(mentions.select(range(6)).to_list())
    inputs = {name: value for name, value in batch.items() if name.startswith(("mention_", "entity_"))}
    inputs = {name: value for name, value in inputs.items() if name not in ("mention_ids", "entity_rows")}
    torch.save(inputs, tmp_path / "batch.pt")
    launch_two("tests.divided_example", str(tmp_path), folder=tmp_path)
    batches = {"whole": [inputs], "chunks": [part_of(inputs, 0), part_of(inputs, 1)]}
    for name, parts in batches.items():
        expected = copy.deepcopy(bi_encoder)
        step(expected, parts)
        moved = expected.get_input_embeddings().weight - bi_encoder.get_input_embeddings().weight
        assert moved.abs().max() > 1e-3
        for number in (0, 1):
            got = torch.load(tmp_path / f"{name}-{number}-of-2.pt")
            for weight, value in expected.state_dict().items():
                assert torch.allclose(got[weight], value, atol=1e-6), (name, weight)
