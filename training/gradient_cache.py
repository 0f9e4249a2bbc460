"""Large batches on small memory: a forward and backward pass in chunks, with the gradients of one whole batch.

1. All chunks are encoded without keeping what a backward pass needs; the vectors are small.
2. The loss of all vectors together gives the gradient of each vector.
3. Every chunk is encoded again, with the same dropout, and its vectors' gradients are sent back through the model.

Activations of one chunk at a time are held, for about 1.3 times the work (Gao et al. 2021, "Scaling deep contrastive
learning batch size under memory limited setup"). Processes may have different numbers of chunks; all make as many passes,
since weights that are divided over them (FSDP) are put together for each.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

Vectors = tuple[Tensor, Tensor]
_OF_MENTIONS = ("mention_input_ids", "mention_attention_mask", "mention_spans")
_OF_ENTITIES = ("entity_input_ids", "entity_attention_mask")


def chunks_of(inputs: dict[str, Tensor], chunk_size: int) -> list[dict[str, Tensor]]:
    """The model's inputs in parts, each with mentions and entities.

    Every part goes through both towers at once, which DistributedDataParallel needs.

    Args:
        inputs: a batch of `BiEncoderCollator`.
        chunk_size: mentions or entities of a part at most, where that leaves both in each part.
    """
    mentions, entities = len(inputs["mention_input_ids"]), len(inputs["entity_input_ids"])
    number = min(-(-max(mentions, entities) // chunk_size), mentions, entities)
    parts: list[dict[str, Tensor]] = [{} for _ in range(number)]
    for name in (*_OF_MENTIONS, *_OF_ENTITIES):
        if name in inputs:
            for part, value in zip(parts, inputs[name].tensor_split(number), strict=True):
                part[name] = value
    return parts


def cached_step(
    chunks: list[dict[str, Tensor]],
    encode: Callable[[dict[str, Tensor]], Vectors],
    loss_of: Callable[[Tensor, Tensor], Tensor],
    backward: Callable[[Tensor], None],
    no_sync: Callable[[], AbstractContextManager[Any]],
    num_passes: int = 0,
) -> Tensor:
    """Leaves the gradients of the whole batch's loss in the model, and gives that loss.

    Args:
        chunks: parts of the batch.
        encode: the model's vectors of a part, (mentions, entities).
        loss_of: the loss of the whole batch's vectors.
        backward: sends a number back through the model, as `accelerator.backward`.
        no_sync: context in which processes do not exchange gradients; left for the last part.
        num_passes: the most parts that a process has; passes beyond this one's own go for nothing through its first part.
    """
    idle, states, vectors = chunks[:1] * (num_passes - len(chunks)), [], []
    with torch.no_grad():
        for chunk in idle:
            encode(chunk)
        for chunk in chunks:
            states.append(_random_state(chunk["mention_input_ids"].device))
            vectors.append(encode(chunk))
    mentions, entities = (torch.cat(side).float().requires_grad_() for side in zip(*vectors, strict=True))
    loss = loss_of(mentions, entities)
    gradients = torch.autograd.grad(loss, (mentions, entities))
    parts = zip(*(gradient.tensor_split(len(chunks)) for gradient in gradients), strict=True)
    after = _random_state(chunks[0]["mention_input_ids"].device)
    for chunk in idle:
        with no_sync():
            of_mentions, of_entities = encode(chunk)
            backward(0.0 * (of_mentions.sum() + of_entities.sum()))
    for number, (chunk, state, (of_mentions, of_entities)) in enumerate(
        zip(chunks, states, parts, strict=True)
    ):
        with nullcontext() if number == len(chunks) - 1 else no_sync():
            _restore(state, chunk["mention_input_ids"].device)
            again = encode(chunk)
            backward((again[0] * of_mentions).sum() + (again[1] * of_entities).sum())
    _restore(after, chunks[0]["mention_input_ids"].device)
    return loss.detach()


def _random_state(device: torch.device) -> tuple[Tensor, Tensor | None]:
    return torch.get_rng_state(), torch.cuda.get_rng_state(device) if device.type == "cuda" else None


def _restore(state: tuple[Tensor, Tensor | None], device: torch.device) -> None:
    torch.set_rng_state(state[0])
    if state[1] is not None:
        torch.cuda.set_rng_state(state[1], device)
