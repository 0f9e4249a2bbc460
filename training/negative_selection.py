"""Which of the retrieved entities become a mention's negatives: ranks, margins, the cross-encoder, and some at random."""

import zlib

import numpy as np

from hf_blink.modeling.entity_linker import EntityLinker
from hf_blink.modeling.knowledge_base import KnowledgeBase
from hf_blink.training.mention_retrieval import MentionBlock, gold_scores
from hf_blink.training.mining_settings import MiningSettings


def select_negatives(
    linker: EntityLinker, block: MentionBlock, settings: MiningSettings, number: int
) -> np.ndarray:
    """The negatives of some mentions.

    Args:
        linker: that retrieved them; with a cross-encoder where `settings.cross_encoder_margin` is given.
        block: mentions with gold entities, and at least `settings.rank_end` non-gold entities for each where there are
            so many.
        settings: what counts as a negative.
        number: of this mining in the run.

    Returns:
        Entity rows, int64 `[num_mentions, num_negatives]`: hard ones best first, then random ones, then -1.
    """
    rows = np.full((len(block.ids), settings.num_negatives), -1, np.int64)
    rows[:, : settings.num_hard] = _hard_rows(linker, block, settings)
    if settings.num_random:
        _add_random(linker.knowledge_base, block, rows, settings, number)
    return rows


def _hard_rows(linker: EntityLinker, block: MentionBlock, settings: MiningSettings) -> np.ndarray:
    """The nearest entities that pass all filters, `[num_mentions, num_hard]`, best first, -1 after the last."""
    wrong = (block.found >= 0) & ~block.is_gold
    rank = np.cumsum(wrong, axis=1) - 1
    allowed = wrong & (rank >= settings.range_min) & (rank < settings.rank_end)
    if settings.absolute_margin is not None or settings.relative_margin is not None:
        gold = gold_scores(linker, block).max(axis=1)
        limit = gold - (settings.absolute_margin or 0.0)
        limit = np.minimum(limit, gold - (settings.relative_margin or 0.0) * np.abs(gold))
        allowed &= block.scores <= limit[:, None]
    if settings.cross_encoder_margin is not None:
        allowed &= _believed_wrong(linker, block, allowed, settings.cross_encoder_margin)
    order = np.argsort(~allowed, axis=1, kind="stable")
    rows = np.take_along_axis(np.where(allowed, block.found, -1), order, axis=1)[:, : settings.num_hard]
    missing = settings.num_hard - rows.shape[1]
    return np.pad(rows, ((0, 0), (0, missing)), constant_values=-1)


def _believed_wrong(
    linker: EntityLinker, block: MentionBlock, allowed: np.ndarray, margin: float
) -> np.ndarray:
    """Which allowed entities the cross-encoder does not place above the gold - margin, bool `[num_mentions, k]`."""
    rows = np.concatenate([np.where(allowed, block.found, -1), block.gold], axis=1)
    scores = np.concatenate([block.scores, gold_scores(linker, block)], axis=1)
    logits = linker.rerank(block.contexts, rows, scores)
    assert logits is not None, "checked before"
    width = allowed.shape[1]
    return logits[:, :width] <= logits[:, width:].max(axis=1, keepdims=True) - margin


def _add_random(
    knowledge_base: KnowledgeBase,
    block: MentionBlock,
    rows: np.ndarray,
    settings: MiningSettings,
    number: int,
) -> None:
    """Appends entities drawn from the mention's world to `rows` `[num_mentions, num_negatives]`, in place."""
    pools = {world: knowledge_base.world_rows(world) for world in set(block.worlds) if world is not None}
    for position, (mention_id, world) in enumerate(zip(block.ids, block.worlds, strict=True)):
        name = f"#{block.start + position}" if mention_id is None else mention_id
        random = np.random.default_rng([settings.seed, number, zlib.crc32(name.encode())])
        taken = rows[position][rows[position] >= 0]
        refused = np.concatenate([taken, block.gold[position]])
        pool = None if world is None else pools[world]
        size = len(knowledge_base) if pool is None else len(pool)
        drawn = random.choice(size, min(size, settings.num_random + len(refused)), replace=False)
        drawn = drawn if pool is None else pool[drawn]
        added = drawn[~np.isin(drawn, refused)][: settings.num_random]
        rows[position, len(taken) : len(taken) + len(added)] = added
