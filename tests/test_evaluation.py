"""The evaluation of a linker, with a linker whose scores are written by hand."""

from collections.abc import Sequence

import numpy as np
import pytest
from datasets import Dataset

from hf_blink.modeling.knowledge_base import KnowledgeBase
from hf_blink.modeling.linking_types import MentionContext
from hf_blink.training import evaluation
from hf_blink.training.dataset_readers import MENTION_FEATURES
from hf_blink.training.evaluation import evaluate_linker


class FakeLinker:
    """Scores come from tables: entity id -> score, for each mention text."""

    def __init__(
        self,
        knowledge_base: KnowledgeBase,
        retrieval: dict[str, dict[str, float]],
        reranking: dict[str, dict[str, float]] | None = None,
    ) -> None:
        self.knowledge_base = knowledge_base
        self.retrieval = retrieval
        self.reranking = reranking
        self.asked_worlds: list[str | None] | None = None
        self.asked_k: list[int] = []
        self.reranked_shapes: list[tuple[int, ...]] = []
        self.num_candidates: int | None = None

    def _scores(self, table: dict[str, dict[str, float]], mention: str) -> np.ndarray:
        ids = self.knowledge_base.entity_ids(range(len(self.knowledge_base)))
        return np.array([table[mention].get(entity_id, -1.0) for entity_id in ids], dtype=np.float32)

    def retrieve(
        self, contexts: Sequence[MentionContext], k: int, worlds: Sequence[str | None] | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        self.asked_worlds = None if worlds is None else [*(self.asked_worlds or []), *worlds]
        self.asked_k.append(k)
        scores = np.full((len(contexts), k), -np.inf, dtype=np.float32)
        rows = np.full((len(contexts), k), -1, dtype=np.int64)
        for mention, context in enumerate(contexts):
            world = None if worlds is None else worlds[mention]
            base = self.knowledge_base
            pool = np.arange(len(base)) if world is None else base.world_rows(world)
            own = self._scores(self.retrieval, context.mention)[pool]
            best = np.argsort(-own, kind="stable")[:k]
            scores[mention, : len(best)], rows[mention, : len(best)] = own[best], pool[best]
        return scores, rows

    def rerank(
        self, contexts: Sequence[MentionContext], rows: np.ndarray, scores: np.ndarray
    ) -> np.ndarray | None:
        if self.reranking is None:
            return None
        self.reranked_shapes.append(rows.shape)
        all_scores = np.stack([self._scores(self.reranking, context.mention) for context in contexts])
        return np.where(rows < 0, -np.inf, np.take_along_axis(all_scores, rows, axis=1)).astype(np.float32)


def knowledge_base_of(ids: Sequence[str], worlds: Sequence[str | None] | None = None) -> KnowledgeBase:
    worlds = worlds or [None] * len(ids)
    return KnowledgeBase.from_entities(
        [
            {"id": entity_id, "title": entity_id, "world": world}
            for entity_id, world in zip(ids, worlds, strict=True)
        ]
    )


def mentions_of(*rows: tuple[str, list[str], str | None]) -> Dataset:
    """Rows of (mention, gold ids, world)."""
    return Dataset.from_list(
        [
            {
                "id": str(number),
                "context_left": "",
                "mention": mention,
                "context_right": "",
                "label_ids": ids,
                "world": world,
                "doc_id": None,
            }
            for number, (mention, ids, world) in enumerate(rows)
        ],
        features=MENTION_FEATURES,
    )


def test_evaluate_linker_retrieval_numbers() -> None:
    # gold positions: m1 -> 1, m2 -> 3, m3 -> 2, m4 -> 4
    base = knowledge_base_of(["a", "b", "c", "d"])
    order = {"a": 4.0, "b": 3.0, "c": 2.0, "d": 1.0}
    linker = FakeLinker(base, dict.fromkeys(("m1", "m2", "m3", "m4"), order))
    data = mentions_of(("m1", ["a"], None), ("m2", ["c"], None), ("m3", ["b"], None), ("m4", ["d"], None))
    result = evaluate_linker(linker, data, recall_at=(1, 2, 3), progress=False)
    assert [result[f"recall@{k}"] for k in (1, 2, 3)] == [1 / 4, 2 / 4, 3 / 4]
    # d is not among the 3 that count: (1 + 1/3 + 1/2 + 0) / 4
    assert result["mrr"] == pytest.approx((1 + 1 / 3 + 1 / 2) / 4)
    assert result["accuracy_unnormalised"] == 1 / 4
    assert result["accuracy_normalised"] == pytest.approx(1 / 3)
    assert (result["num_mentions"], result["num_nil"], result["num_entities"], result["num_worlds"]) == (
        4,
        0,
        4,
        0,
    )
    assert result["seconds"] >= 0
    assert linker.asked_worlds is None
    assert result["recall@1_macro"] == result["recall@1"]


def test_evaluate_linker_pool_of_gold_entities_only_would_flatter() -> None:
    # "distractor" is no mention's gold entity, and beats the gold entity of m2. In a pool of gold entities
    # only it would be missing, and recall@1 would be 1.0 instead of 0.5
    scores = {"m1": {"a": 2.0}, "m2": {"distractor": 2.0, "b": 1.0}}
    data = mentions_of(("m1", ["a"], None), ("m2", ["b"], None))
    whole = evaluate_linker(
        FakeLinker(knowledge_base_of(["a", "b", "distractor"]), scores),
        data,
        recall_at=(1, 2),
        progress=False,
    )
    gold_only = evaluate_linker(
        FakeLinker(knowledge_base_of(["a", "b"]), scores), data, recall_at=(1, 2), progress=False
    )
    assert whole["recall@1"] == 0.5
    assert whole["num_entities"] == 3
    assert gold_only["recall@1"] == 1.0


def test_evaluate_linker_candidates_are_all_of_the_world_and_no_others() -> None:
    # for m the best entity of all is x, of another world; within w1: noise (no mention's gold entity), then a
    base = knowledge_base_of(["a", "noise", "x"], ["w1", "w1", "w2"])
    linker = FakeLinker(base, {"m": {"x": 9.0, "noise": 5.0, "a": 1.0}})
    result = evaluate_linker(linker, mentions_of(("m", ["a"], "w1")), recall_at=(1, 2), progress=False)
    assert (result["recall@1"], result["recall@2"]) == (0.0, 1.0)
    assert linker.asked_worlds == ["w1"]
    # a mention without a world has all entities as candidates: x, noise, a
    result = evaluate_linker(linker, mentions_of(("m", ["a"], None)), recall_at=(2, 3), progress=False)
    assert (result["recall@2"], result["recall@3"]) == (0.0, 1.0)


def test_evaluate_linker_macro_micro_and_worlds() -> None:
    # w1: 2 of 3 right at rank 1; w2: 0 of 1, in the top 2 -> micro 2/4, macro (2/3 + 0) / 2 = 1/3
    base = knowledge_base_of(["a", "b", "c", "d"], ["w1", "w1", "w2", "w2"])
    linker = FakeLinker(base, {"ab": {"a": 2.0, "b": 1.0}, "cd": {"c": 2.0, "d": 1.0}})
    data = mentions_of(("ab", ["a"], "w1"), ("cd", ["d"], "w2"), ("ab", ["b"], "w1"), ("ab", ["a"], "w1"))
    result = evaluate_linker(linker, data, recall_at=(1, 2), progress=False)
    assert result["recall@1"] == 0.5
    assert result["recall@1_macro"] == pytest.approx(1 / 3)
    assert result["recall@2"] == result["recall@2_macro"] == 1.0
    assert result["world/w1/recall@1"] == pytest.approx(2 / 3)
    assert result["world/w2/recall@1"] == 0.0
    assert result["world/w2/mrr"] == 0.5
    assert (result["world/w1/num_mentions"], result["world/w2/num_mentions"]) == (3, 1)
    assert result["accuracy_unnormalised_macro"] == pytest.approx(1 / 3)
    assert result["num_worlds"] == 2


def test_evaluate_linker_reranks_the_first_candidates() -> None:
    # retrieval puts the golds at 1, 2, 3 and 4; the cross-encoder sees the first 3 and likes c best, then b
    base = knowledge_base_of(["a", "b", "c", "d"])
    order = {"a": 4.0, "b": 3.0, "c": 2.0, "d": 1.0}
    reranking = {"a": 1.0, "b": 2.0, "c": 3.0, "d": 9.0}
    names = ("m1", "m2", "m3", "m4")
    linker = FakeLinker(base, dict.fromkeys(names, order), dict.fromkeys(names, reranking))
    data = mentions_of(("m1", ["a"], None), ("m2", ["b"], None), ("m3", ["c"], None), ("m4", ["d"], None))
    result = evaluate_linker(linker, data, recall_at=(1, 4), rerank_k=3, progress=False)
    assert linker.reranked_shapes == [(4, 3)]
    assert result["recall@1"] == 1 / 4  # recall stays the bi-encoder's
    assert result["recall@4"] == 1.0
    assert result["accuracy_unnormalised"] == 1 / 4  # m3 alone
    assert result["accuracy_normalised"] == pytest.approx(1 / 3)  # d was not among the reranked ones


def test_evaluate_linker_rerank_k_may_exceed_the_recall_depth() -> None:
    # the gold entity is third: no hit for recall@1, but the cross-encoder finds it among 3
    base = knowledge_base_of(["a", "b", "c"])
    linker = FakeLinker(base, {"m": {"a": 3.0, "b": 2.0, "c": 1.0}}, {"m": {"c": 5.0}})
    result = evaluate_linker(
        linker, mentions_of(("m", ["c"], None)), recall_at=(1,), rerank_k=3, progress=False
    )
    assert linker.asked_k == [3]
    assert (result["recall@1"], result["mrr"]) == (0.0, 0.0)
    assert (result["accuracy_normalised"], result["accuracy_unnormalised"]) == (1.0, 1.0)


def test_evaluate_linker_reranks_as_many_candidates_as_linking_does() -> None:
    # linking shows the cross-encoder 2 candidates, so it cannot find c, which is third
    base = knowledge_base_of(["a", "b", "c"])
    linker = FakeLinker(base, {"m": {"a": 3.0, "b": 2.0, "c": 1.0}}, {"m": {"c": 5.0}})
    data = mentions_of(("m", ["c"], None))
    assert evaluate_linker(linker, data, recall_at=(1, 3), progress=False)["accuracy_unnormalised"] == 1.0
    linker.num_candidates = 2
    result = evaluate_linker(linker, data, recall_at=(1, 3), progress=False)
    assert (result["recall@3"], result["accuracy_unnormalised"]) == (1.0, 0.0)
    assert linker.reranked_shapes == [(1, 3), (1, 2)]


def test_evaluate_linker_world_smaller_than_k() -> None:
    # w1 has one entity, k is 4; the missing candidates are neither hits nor ranked before the entity
    base = knowledge_base_of(["a", "b"], ["w1", "w2"])
    linker = FakeLinker(base, {"m": {}}, {"m": {"a": -50.0}})
    result = evaluate_linker(linker, mentions_of(("m", ["a"], "w1")), recall_at=(4,), progress=False)
    assert (result["recall@4"], result["accuracy_unnormalised"]) == (1.0, 1.0)


def test_evaluate_linker_several_gold_entities_best_counts() -> None:
    base = knowledge_base_of(["a", "b", "c"])
    linker = FakeLinker(base, {"m": {"a": 3.0, "b": 2.0, "c": 1.0}})
    result = evaluate_linker(linker, mentions_of(("m", ["c", "b"], None)), recall_at=(1, 2), progress=False)
    assert (result["recall@1"], result["recall@2"], result["mrr"]) == (0.0, 1.0, 0.5)


def test_evaluate_linker_nil_mentions_are_counted_and_left_out() -> None:
    linker = FakeLinker(knowledge_base_of(["a", "b"]), {"m": {"a": 1.0}})
    data = mentions_of(("nil", [], None), ("m", ["a"], None), ("nil", [], None))
    result = evaluate_linker(linker, data, recall_at=(1,), progress=False)
    assert (result["num_mentions"], result["num_nil"], result["recall@1"]) == (1, 2, 1.0)


def test_evaluate_linker_worlds_of_the_data_without_worlds_in_the_knowledge_base_raise() -> None:
    linker = FakeLinker(knowledge_base_of(["a", "b"]), {"m": {"a": 1.0}})
    data = mentions_of(("m", ["a"], None), ("m", ["b"], "w2"), ("m", ["a"], "w1"))
    with pytest.raises(
        ValueError,
        match="expected no world, as no entity .* names one, got 'w2' for mention '1' and for 1 more; ",
    ):
        evaluate_linker(linker, data, recall_at=(1,), progress=False)


def test_evaluate_linker_dataset_without_world_column() -> None:
    linker = FakeLinker(knowledge_base_of(["a", "b"]), {"m": {"a": 1.0}})
    data = mentions_of(("m", ["a"], None)).remove_columns(["world", "doc_id", "id"])
    assert evaluate_linker(linker, data, recall_at=(1,), progress=False)["recall@1"] == 1.0


def test_evaluate_linker_in_steps_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    base = knowledge_base_of(["a", "b", "c", "d"], ["w1", "w1", "w2", "w2"])
    scores = {"ab": {"a": 2.0, "b": 1.0}, "cd": {"c": 2.0, "d": 1.0}}
    data = mentions_of(*[("ab", ["a"], "w1"), ("cd", ["d"], "w2"), ("ab", ["b"], "w1")] * 3)
    whole = evaluate_linker(FakeLinker(base, scores, scores), data, recall_at=(1, 2), progress=False)
    monkeypatch.setattr(evaluation, "MENTIONS_PER_STEP", 2)
    steps = evaluate_linker(FakeLinker(base, scores, scores), data, recall_at=(1, 2), progress=False)
    assert {**steps, "seconds": 0} == {**whole, "seconds": 0}


def test_evaluate_linker_unknown_gold_ids_raise() -> None:
    linker = FakeLinker(knowledge_base_of(["a"]), {})
    data = mentions_of(("m", ["a", "x0"], None), *[("m", [f"x{number}"], None) for number in range(12)])
    with pytest.raises(ValueError, match=r"of 1 entities, got 12 that are not: 'x0', .*'x9' and 2 more"):
        evaluate_linker(linker, data, progress=False)


def test_evaluate_linker_unknown_worlds_raise() -> None:
    linker = FakeLinker(knowledge_base_of(["a"], ["w1"]), {})
    with pytest.raises(ValueError, match=r"one of .* worlds \('w1'\), got 'w9' for mention '0'; correct"):
        evaluate_linker(linker, mentions_of(("m", ["a"], "w9")), progress=False)


def test_evaluate_linker_nothing_to_measure_raises() -> None:
    linker = FakeLinker(knowledge_base_of(["a"]), {})
    with pytest.raises(ValueError, match="none of the 1 mentions has a gold entity"):
        evaluate_linker(linker, mentions_of(("m", [], None)), progress=False)


def test_evaluate_linker_wrong_cutoffs_raise() -> None:
    linker, data = FakeLinker(knowledge_base_of(["a"]), {}), mentions_of(("m", ["a"], None))
    with pytest.raises(ValueError, match=r"at least one k.* got \[\]"):
        evaluate_linker(linker, data, recall_at=(), progress=False)
    with pytest.raises(ValueError, match=r"each at least 1; got \[1, 0\]"):
        evaluate_linker(linker, data, recall_at=(1, 0), progress=False)
    with pytest.raises(ValueError, match="rerank_k must be at least 1"):
        evaluate_linker(linker, data, rerank_k=0, progress=False)


def test_evaluate_linker_nan_rerank_scores_raise() -> None:
    base = knowledge_base_of(["a", "b"])
    linker = FakeLinker(base, {"m": {"a": 1.0}}, {"m": {"a": float("nan")}})
    with pytest.raises(ValueError, match=r"rerank scores must be numbers of shape \(1, 2\).* with 1 NaN"):
        evaluate_linker(linker, mentions_of(("m", ["a"], None)), recall_at=(2,), progress=False)
