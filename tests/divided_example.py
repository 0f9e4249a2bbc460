"""A bi-encoder whose weights are divided over two processes takes a step; run as a module, by each process.

python -m tests.divided_example FOLDER      FOLDER/model holds a bi-encoder, FOLDER/batch.pt a batch of BiEncoderCollator
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from accelerate import PartialState
from torch import Tensor
from torch.distributed.fsdp import FSDPModule, fully_shard

from hf_blink.modeling.modeling_blink_biencoder import BlinkBiEncoder
from hf_blink.training.gradient_cache import cached_step, chunks_of
from hf_blink.training.process_gathering import most_of_processes
from hf_blink.training.process_shares import leave_processes
from hf_blink.training.whole_weights import whole_model

Batch = dict[str, Tensor]


def loss_of(mentions: Tensor, entities: Tensor) -> Tensor:
    """The in-batch loss; entity i is that of mention i."""
    return torch.nn.functional.cross_entropy(mentions @ entities.T, torch.arange(len(mentions)))


def step(model: BlinkBiEncoder, batches: list[Batch]) -> None:
    """One step of gradient descent on the mean of the batches' losses."""
    outputs = [model(**batch) for batch in batches]
    losses = [loss_of(output.mention_embeddings, output.entity_embeddings) for output in outputs]
    torch.stack(losses).mean().backward()
    torch.optim.SGD(model.parameters(), lr=0.1).step()


def part_of(batch: Batch, number: int) -> Batch:
    """What process `number` has of a batch of six: all, or two mentions and four entities."""
    ends = {"mention": 6 - 4 * number, "entity": 6 - 2 * number}
    return {name: value[: ends[name.partition("_")[0]]] for name, value in batch.items()}


def chunked_step(model: BlinkBiEncoder, batch: Batch) -> None:
    """That step in chunks of two, of which processes have different numbers."""

    def encode(chunk: Batch) -> tuple[Tensor, Tensor]:
        output = model(**chunk)
        return output.mention_embeddings, output.entity_embeddings

    @contextmanager
    def no_sync() -> Iterator[None]:
        assert isinstance(model, FSDPModule)
        model.set_requires_gradient_sync(False)
        yield
        model.set_requires_gradient_sync(True)

    chunks = chunks_of(batch, 2)
    passes = most_of_processes(len(chunks), torch.device("cpu"))
    cached_step(chunks, encode, loss_of, Tensor.backward, no_sync, passes)
    torch.optim.SGD(model.parameters(), lr=0.1).step()


def divided(folder: Path) -> BlinkBiEncoder:
    """The model, its weights divided over the processes."""
    model = BlinkBiEncoder.from_pretrained(folder / "model").eval()
    for layer in model.mention_encoder.encoder.layer:
        fully_shard(layer)
    fully_shard(model)
    assert any(part.to_local().numel() < part.numel() for part in model.parameters()), "nothing is divided"
    return model


def main(folder: Path) -> None:
    """Writes what each process has after a step to `whole-<number>-of-<processes>.pt`, and in chunks to `chunks-...pt`."""
    state = PartialState(cpu=True)
    batch = torch.load(folder / "batch.pt")
    name = f"{state.process_index}-of-{state.num_processes}.pt"
    model = divided(folder)
    step(model, [batch])
    copy = whole_model(model)
    assert type(copy) is BlinkBiEncoder and whole_model(copy) is copy
    torch.save(copy.state_dict(), folder / f"whole-{name}")
    model = divided(folder)
    chunked_step(model, part_of(batch, state.process_index))
    torch.save(whole_model(model).state_dict(), folder / f"chunks-{name}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
    leave_processes()
