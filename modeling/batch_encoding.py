"""Windows to vectors and scores, for any number of them: sorted by length, padded to the longest of a small batch.

Batches hold a budget of tokens, not a number of texts: about 2,000 tokens keep a CPU's caches warm, 65,536 keep a GPU
busy, and padding stays near zero. Results come back in the order of the input and do not depend on the batches but for
rounding.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch

from .linking_types import MentionContext

_TOKENS_ON_CPU, _TOKENS_ELSEWHERE = 2048, 65_536
Progress = Callable[[int], Any]  # called with the number of items done since the last call


def batch_budget(model: Any) -> int:
    """Padded tokens of a batch where the model is."""
    return _TOKENS_ON_CPU if model.device.type == "cpu" else _TOKENS_ELSEWHERE


def length_sorted_batches(lengths: Sequence[int], batch_tokens: int) -> Iterator[np.ndarray]:
    """Positions of items grouped by similar length, longest first, `batch_tokens` padded tokens a group at most.

    Args:
        lengths: number of tokens of each item.
        batch_tokens: budget of a group; an item above it gets a group of its own.
    """
    order = np.argsort(-np.asarray(lengths, dtype=np.int64), kind="stable")
    start = 0
    while start < len(order):
        size = max(1, batch_tokens // max(lengths[order[start]], 1))
        yield order[start : start + size]
        start += size


def _collect(
    model: Any,
    lengths: Sequence[int],
    compute: Callable[[np.ndarray], torch.Tensor],
    batch_tokens: int | None,
    progress: Progress | None,
) -> list[Any]:
    """Runs `compute` on length-sorted batches, the model in evaluation mode; rows come back in the order of the input."""
    if batch_tokens is None:
        batch_tokens = batch_budget(model)
    results: list[Any] = [None] * len(lengths)
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            for positions in length_sorted_batches(lengths, batch_tokens):
                for position, row in zip(positions, compute(positions).float().cpu().numpy(), strict=True):
                    results[position] = row
                if progress is not None:
                    progress(len(positions))
    finally:
        model.train(was_training)
    return results


def encode_entities(
    model: Any,
    processor: Any,
    titles: Sequence[str],
    descriptions: Sequence[str],
    *,
    batch_tokens: int | None = None,
    progress: Progress | None = None,
) -> np.ndarray:
    """Vectors of entities, computed on the model's device.

    Args:
        model: a [`BlinkBiEncoder`].
        processor: its [`BlinkProcessor`].
        titles: of the entities.
        descriptions: of the entities.
        batch_tokens: padded tokens of a batch; None means 2,048 on a CPU and 65,536 elsewhere.
        progress: called with the number of entities done since the last call.

    Returns:
        float32 `[num_entities, embed_dim]`.
    """
    windows = processor.entity_windows(titles, descriptions)

    def compute(positions: np.ndarray) -> torch.Tensor:
        batch = processor.pad([windows[i] for i in positions]).to(model.device)
        return model.encode_entities(batch["input_ids"], batch["attention_mask"])

    rows = _collect(model, [len(window) for window in windows], compute, batch_tokens, progress)
    return np.stack(rows) if rows else np.zeros((0, model.config.embed_dim), dtype=np.float32)


def encode_mentions(
    model: Any,
    processor: Any,
    contexts: Sequence[MentionContext],
    *,
    batch_tokens: int | None = None,
    progress: Progress | None = None,
) -> np.ndarray:
    """Vectors of mentions in context, float32 `[num_mentions, embed_dim]`; options as in `encode_entities`."""
    windows, spans = processor.mention_windows(contexts)

    def compute(positions: np.ndarray) -> torch.Tensor:
        batch = processor.pad([windows[i] for i in positions]).to(model.device)
        mention_spans = torch.tensor([spans[i] for i in positions], device=model.device)
        return model.encode_mentions(batch["input_ids"], batch["attention_mask"], mention_spans)

    rows = _collect(model, [len(window) for window in windows], compute, batch_tokens, progress)
    return np.stack(rows) if rows else np.zeros((0, model.config.embed_dim), dtype=np.float32)


def score_pairs(
    model: Any,
    processor: Any,
    pairs: Sequence[tuple[Sequence[int], Sequence[int]]],
    *,
    batch_tokens: int | None = None,
    progress: Progress | None = None,
) -> np.ndarray:
    """The cross-encoder's own scores of (mention window, entity window) pairs of token ids, float32 `[num_pairs]`.

    Options are those of `encode_entities`, without the bi-encoder's score.
    """

    def compute(positions: np.ndarray) -> torch.Tensor:
        chosen = [pairs[i] for i in positions]
        batch = processor.process_pairs([pair[0] for pair in chosen], [pair[1] for pair in chosen]).to(
            model.device
        )
        return model.score_pairs(**batch)

    rows = _collect(
        model, [len(mention) + len(entity) for mention, entity in pairs], compute, batch_tokens, progress
    )
    return np.array(rows, dtype=np.float32)
