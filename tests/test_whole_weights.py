"""The whole model of a training with divided weights is that of a training with whole ones."""

import torch

from hf_blink.training.collators import BiEncoderCollator
from hf_blink.training.whole_weights import whole_model
from tests.divided_example import step
from tests.two_processes import launch_two


def test_a_divided_model_is_made_whole_in_every_process(
    bi_encoder, processor, knowledge_base, mentions, tmp_path
):
    assert whole_model(bi_encoder) is bi_encoder
    bi_encoder.save_pretrained(tmp_path / "model")
    batch = BiEncoderCollator(processor, knowledge_base)(mentions.select(range(6)).to_list())
    inputs = {name: value for name, value in batch.items() if name.startswith(("mention_", "entity_"))}
    inputs = {name: value for name, value in inputs.items() if name not in ("mention_ids", "entity_rows")}
    torch.save(inputs, tmp_path / "batch.pt")
    launch_two("tests.divided_example", str(tmp_path), folder=tmp_path)
    before = bi_encoder.get_input_embeddings().weight.detach().clone()
    step(bi_encoder, inputs)
    assert not torch.equal(bi_encoder.get_input_embeddings().weight, before)
    for number in (0, 1):
        whole = torch.load(tmp_path / f"whole-{number}-of-2.pt")
        for name, value in bi_encoder.state_dict().items():
            assert torch.allclose(whole[name], value, atol=1e-6), name
