"""A bi-encoder whose weights are divided over two processes takes a step; run as a module, by each process.

python -m tests.divided_example FOLDER      FOLDER/model holds a bi-encoder, FOLDER/batch.pt a batch of BiEncoderCollator
"""

import sys
from pathlib import Path

import torch
from accelerate import PartialState
from torch.distributed.fsdp import fully_shard

from hf_blink.modeling.modeling_blink_biencoder import BlinkBiEncoder
from hf_blink.training.whole_weights import whole_model


def step(model: BlinkBiEncoder, batch: dict[str, torch.Tensor]) -> None:
    """One step of gradient descent on the in-batch loss of the batch."""
    output = model(**batch)
    scores = output.mention_embeddings @ output.entity_embeddings.T
    torch.nn.functional.cross_entropy(scores, torch.arange(len(scores))).backward()
    torch.optim.SGD(model.parameters(), lr=0.1).step()


def main(folder: Path) -> None:
    """Writes what each process has afterwards to `whole-<number>-of-<processes>.pt`."""
    state = PartialState(cpu=True)
    model = BlinkBiEncoder.from_pretrained(folder / "model").eval()
    for layer in model.mention_encoder.encoder.layer:
        fully_shard(layer)
    fully_shard(model)
    step(model, torch.load(folder / "batch.pt"))
    assert any(part.to_local().numel() < part.numel() for part in model.parameters()), "nothing is divided"
    copy = whole_model(model)
    assert type(copy) is BlinkBiEncoder and whole_model(copy) is copy
    torch.save(copy.state_dict(), folder / f"whole-{state.process_index}-of-{state.num_processes}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
