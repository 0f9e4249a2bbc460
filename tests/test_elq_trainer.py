import pytest
import torch
from torch.nn import functional as F

from hf_blink.modeling.entity_index import EntityIndex
from hf_blink.training.arguments import BlinkTrainingArguments
from hf_blink.training.documents import document, documents_dataset
from hf_blink.training.elq_trainer import ElqTrainer
from hf_blink.training.span_collator import ElqCollator
from hf_blink.training.span_losses import counted_spans, pair_loss, span_detection_loss
from tests.elq_example import elq_model, elq_processor
from tests.test_trainers import arguments

NOT_OF_THE_MODEL = ("gold_spans", "complete", "targets", "gold_rows", "entity_rows", "worlds", "mention_ids")


def elq_documents(repeat: int = 1):
    rows = [
        ("the spotted cat jaguar is in the forest", [(16, 22, ["jaguar-cat"])]),
        ("a jaguar is a car of the maker puma", [(2, 8, ["jaguar-car"]), (31, 35, ["puma-shoe"])]),
        ("paris is the capital of france", [(0, 5, ["paris-fr"]), (24, 30, [])]),
        ("in paris texas", [(3, 8, ["paris-tx"])]),
        ("the cat puma", [(8, 12, ["puma-cat", "jaguar-cat"])]),
        ("a town in the forest", []),
    ]
    return documents_dataset(document(f"{i}-{n}", *row) for n in range(repeat) for i, row in enumerate(rows))


@pytest.fixture(scope="module")
def processor(tiny_encoder):
    return elq_processor(tiny_encoder)


@pytest.fixture
def collator(processor, knowledge_base):
    return ElqCollator(processor, knowledge_base)


@pytest.fixture
def model(tiny_encoder):
    from hf_blink.modeling.modeling_elq import ElqModel

    torch.manual_seed(0)
    return ElqModel.from_encoder(tiny_encoder).eval()


def flat_index(model, processor, knowledge_base):
    return EntityIndex.build(model, processor, knowledge_base, kind="flat", progress=False)


def test_span_loss_by_hand():
    inf = float("inf")
    logits = torch.tensor([[[1.0, 2.0], [3.0, -inf]], [[-1.0, -inf], [-inf, -inf]]])
    gold = torch.tensor(
        [[0, 0, 1], [0, 0, 1], [1, 0, 5]]
    )  # twice the same, and one that is too long to be scored
    terms = [F.softplus(torch.tensor(1.0)), F.softplus(torch.tensor(-2.0)), F.softplus(torch.tensor(3.0)),
             F.softplus(torch.tensor(-1.0))]  # fmt: skip
    assert span_detection_loss(logits, gold).item() == pytest.approx(float(sum(terms)) / 4)
    with pytest.raises(ValueError, match=r"gold spans within their texts, got \[\[1, 1, 0\]\]"):
        span_detection_loss(logits, torch.tensor([[1, 1, 0]]))
    with pytest.raises(ValueError, match="at least one span"):
        span_detection_loss(torch.full((1, 2, 2), -inf), gold)


def test_of_an_incomplete_text_only_gold_spans_and_those_that_overlap_them_count():
    """Two texts of 4 tokens with spans of up to 2; one has the mention of its second token, one none that is known."""
    inf = float("inf")
    logits = torch.tensor([[[0.5, 1.0], [2.0, -1.0], [3.0, 4.0], [5.0, -inf]]] * 2).requires_grad_()
    gold = torch.tensor([[0, 1, 0]])
    near = torch.tensor([[False, True], [True, True], [False, False], [False, False]])
    nothing, all_spans = torch.zeros(4, 2).bool(), torch.isfinite(logits[0])
    for complete, wanted in [
        ([False, False], [near, nothing]),
        ([True, False], [all_spans, nothing]),
        ([False, True], [near, all_spans]),
    ]:
        counted = counted_spans(logits, gold, torch.tensor(complete))
        assert torch.equal(counted, torch.stack(wanted)), complete
    counted = counted_spans(logits, gold, torch.tensor([False, False]))
    loss = span_detection_loss(logits, gold, counted)
    # softplus(1), softplus(-2) of the gold span, softplus(-1)
    assert loss.item() == pytest.approx((1.313262 + 0.126928 + 0.313262) / 3, abs=1e-6)
    loss.backward()
    assert logits.grad is not None
    assert torch.equal(logits.grad.ne(0), counted)
    none = counted_spans(logits, gold[:0], torch.tensor([False, False]))
    assert span_detection_loss(logits, gold[:0], none).item() == 0
    long = torch.tensor([[0, 1, 2]])  # of three tokens, which is not scored: spans within it are no mentions
    within = torch.tensor([[False, True], [True, True], [True, True], [True, False]])
    assert torch.equal(counted_spans(logits, long, torch.tensor([False, True]))[0], within)


def test_of_an_incomplete_text_whose_mentions_may_be_nested_only_gold_spans_count():
    """A text of 3 tokens with spans of up to 2, and the mention of its first two; its tokens may be mentions too."""
    inf = float("inf")
    logits = torch.tensor([[[0.5, 2.0], [3.0, 4.0], [5.0, -inf]]] * 2)
    gold = torch.tensor([[0, 0, 1], [0, 0, 2], [1, 2, 0]])  # the second is too long to be scored
    counted = counted_spans(logits, gold, torch.tensor([False, True]), nested=True)
    only = torch.tensor([[False, True], [False, False], [False, False]])
    assert torch.equal(counted, torch.stack([only, torch.isfinite(logits[1])]))
    alone = counted_spans(logits[:1], gold[:2], torch.tensor([False]), nested=True)
    loss = span_detection_loss(logits[:1], gold[:2], alone)
    assert loss.item() == pytest.approx(0.126928, abs=1e-6)  # softplus(-2)
    overlapping = counted_spans(logits[:1], gold[:1], torch.tensor([False]))[0]
    assert overlapping.tolist() == [[True, True], [True, True], [False, False]]


def test_a_nested_model_trains_only_the_gold_spans_of_an_incomplete_text(model, collator, tmp_path):
    trainer = ElqTrainer(model, arguments(tmp_path, span_loss_weight=1.0), collator, elq_documents())
    batch = trainer.data_collator([{**elq_documents()[2], "complete": False}])
    model.config.nested = True
    output = model(**{name: value for name, value in batch.items() if name not in NOT_OF_THE_MODEL})
    rows, starts, widths = batch["gold_spans"].unbind(dim=1)
    expected = F.softplus(-output.span_logits[rows, starts, widths]).mean()  # its one entity has no rival
    torch.testing.assert_close(trainer.compute_loss(model, batch), expected)


def test_pair_loss_by_hand():
    scores = torch.tensor([[2.0, -1.0], [0.0, 9.0]])
    is_gold = torch.tensor([[True, False], [False, False]])
    expected = (
        F.softplus(torch.tensor(-2.0)) + F.softplus(torch.tensor(-1.0)) + F.softplus(torch.tensor(0.0))
    ) / 3
    counted = torch.tensor([[True, True], [True, False]])
    assert pair_loss(scores, is_gold, counted).item() == pytest.approx(float(expected))
    assert pair_loss(scores[:, :1], is_gold[:, :1]).item() == pytest.approx(
        (0.126928 + 0.693147) / 2, abs=1e-5
    )


def test_a_batch_has_texts_gold_spans_and_entities_once(collator, processor):
    rows = elq_documents()
    batch = collator([rows[1], rows[2], rows[5]])
    assert batch["gold_spans"].tolist() == [[0, 2, 0], [0, 9, 0], [1, 1, 0], [1, 6, 0]]
    assert batch["mention_rows"].tolist() == [0, 0, 1] and batch["mention_spans"].tolist() == [
        [2, 3],
        [9, 10],
        [1, 2],
    ]
    assert batch["entity_rows"].tolist() == [1, 3, 4] and batch["targets"].tolist() == [0, 1, 2]
    assert batch["entity_input_ids"].shape[0] == 3 and batch["worlds"] == [None] * 3
    assert collator([rows[5]])["entity_rows"].tolist() == [0], "an entity for the other processes"
    with pytest.raises(ValueError, match="nowhere"):
        collator([document("x", "paris", [(0, 5, ["nowhere"])])])


def test_the_loss_is_that_of_entities_plus_that_of_spans(model, collator, tmp_path):
    trainer = ElqTrainer(model, arguments(tmp_path, span_loss_weight=0.5), collator, elq_documents())
    rows = elq_documents()
    batch = trainer.data_collator([rows[0], rows[1], rows[2]])
    output = model(**{name: value for name, value in batch.items() if name not in NOT_OF_THE_MODEL})
    scores = output.mention_embeddings @ output.entity_embeddings.T / 0.05
    entities = F.cross_entropy(scores, torch.arange(4))
    spans = span_detection_loss(output.span_logits, batch["gold_spans"])
    torch.testing.assert_close(trainer.compute_loss(model, batch), entities + 0.5 * spans)
    incomplete = [{**rows[1], "complete": False}, {**rows[2], "complete": None}]
    batch = trainer.data_collator(incomplete)
    assert batch["complete"].tolist() == [False, True]
    output = model(**{name: value for name, value in batch.items() if name not in NOT_OF_THE_MODEL})
    scores = output.mention_embeddings @ output.entity_embeddings.T / 0.05
    terms = []
    for text, first, width in torch.isfinite(output.span_logits).nonzero().tolist():
        if text == 1 or any(first < stop and first + width >= start for start, stop in [(2, 3), (9, 10)]):
            logit = output.span_logits[text, first, width]
            terms.append(
                F.softplus(-logit if [text, first, width] in batch["gold_spans"].tolist() else logit)
            )
    mean = torch.stack(terms).mean().item()
    expected = F.cross_entropy(scores, torch.arange(3)).item() + 0.5 * mean
    assert trainer.compute_loss(model, batch).item() == pytest.approx(expected, rel=1e-5)
    empty = trainer.data_collator([rows[5]])
    output = model(**{name: value for name, value in empty.items() if name not in NOT_OF_THE_MODEL})
    spans = span_detection_loss(output.span_logits, empty["gold_spans"])
    torch.testing.assert_close(trainer.compute_loss(model, empty), 0.5 * spans)


def test_the_span_head_trains(model, collator, tmp_path):
    """In the original no optimizer group has it."""
    before = {name: value.clone() for name, value in model.named_parameters()}
    options = {"max_steps": 25, "learning_rate": 3e-3, "per_device_train_batch_size": 6, "logging_steps": 1}
    trainer = ElqTrainer(
        model, arguments(tmp_path, **options, logging_strategy="steps"), collator, elq_documents(2)
    )
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert losses[-1] < losses[0] / 2
    changed = {name for name, value in model.named_parameters() if not torch.equal(value, before[name])}
    assert {"span_head.weight", "span_head.bias"} <= changed
    assert any(name.startswith("entity_encoder") for name in changed)


@pytest.mark.parametrize("loss", ["softmax", "bce"])
def test_with_an_index_the_entity_tower_is_frozen_and_neighbours_are_negatives(
    model, collator, processor, knowledge_base, tmp_path, loss
):
    index = flat_index(model, processor, knowledge_base)
    before = {name: value.clone() for name, value in model.named_parameters()}
    options = {"hard_negative_loss": loss, "num_hard_negatives": 6, "learning_rate": 1e-3}
    trainer = ElqTrainer(model, arguments(tmp_path, **options), collator, elq_documents(), index=index)
    rows = elq_documents()
    batch = trainer.data_collator([rows[1], rows[4]])
    assert "entity_input_ids" not in batch
    output = model(**{name: value for name, value in batch.items() if name not in NOT_OF_THE_MODEL})
    scores = output.mention_embeddings @ torch.from_numpy(index.vectors(range(6))).T / 0.05
    chosen = batch["entity_rows"][batch["targets"]]
    gold = [{1}, {3}, {0, 2}]
    terms = []
    for mention, own in enumerate(gold):
        target = int(chosen[mention])
        others = [row for row in range(6) if row not in own]
        if loss == "softmax":
            terms.append(torch.logsumexp(scores[mention, [target, *others]], 0) - scores[mention, target])
        else:
            terms += [F.softplus(-scores[mention, target]), *F.softplus(scores[mention, others])]
    expected = torch.stack(terms).mean() + span_detection_loss(output.span_logits, batch["gold_spans"])
    torch.testing.assert_close(trainer.compute_loss(model, batch), expected, rtol=1e-4, atol=1e-5)
    trainer.train()
    after = dict(model.named_parameters())
    for name, value in before.items():
        frozen = name.startswith("entity_encoder")
        assert not frozen or torch.equal(after[name], value), name
    assert not torch.equal(after["span_head.weight"], before["span_head.weight"])
    assert flat_index(model, processor, knowledge_base).encoder_fingerprint == index.encoder_fingerprint


def test_a_neighbour_that_is_gold_for_another_mention_of_the_text_stays_a_negative(
    model, collator, processor, knowledge_base, tmp_path
):
    """ELQ drops it for all mentions of the text; here the shoe is wrong for the car's mention."""
    trainer = ElqTrainer(
        model, arguments(tmp_path, hard_negative_loss="bce", num_hard_negatives=6), collator, elq_documents(),
        index=flat_index(model, processor, knowledge_base),
    )  # fmt: skip
    batch = trainer.data_collator([elq_documents()[1]])
    mentions = torch.randn(2, 32)
    scores = mentions @ torch.from_numpy(trainer.index.vectors(range(6))).T / 0.05
    terms = F.softplus(torch.where(torch.eye(6)[[1, 3]].bool(), -scores, scores))
    torch.testing.assert_close(trainer.hard_negative_loss(mentions, batch), terms.mean())


def test_what_cannot_be_trained_is_refused(tiny_encoder, processor, knowledge_base, collator, tmp_path):
    shared = elq_model(tiny_encoder)
    index = flat_index(shared, processor, knowledge_base)
    with pytest.raises(ValueError, match="two towers .* got one shared tower; start with share_towers=False"):
        ElqTrainer(shared, arguments(tmp_path), collator, elq_documents(), index=index)
    with pytest.raises(ValueError, match="gradient_cache_chunk 0 for an ELQ model, got 2"):
        ElqTrainer(shared, arguments(tmp_path, gradient_cache_chunk=2), collator, elq_documents())
    with pytest.raises(ValueError, match=r"expected no matryoshka_dims for an ELQ model.* got \[16\]; leave"):
        ElqTrainer(shared, arguments(tmp_path, matryoshka_dims=[16]), collator, elq_documents())
    for wrong in ({"span_loss_weight": -1.0}, {"hard_negative_loss": "hinge"}):
        with pytest.raises(
            ValueError, match="expected span_loss_weight of at least 0 and hard_negative_loss"
        ):
            BlinkTrainingArguments(str(tmp_path), **wrong)


def test_a_loss_that_is_no_number_names_the_texts(model, collator, tmp_path):
    torch.nn.init.constant_(model.span_head.weight, float("nan"))
    options = arguments(tmp_path, max_steps=1, per_device_train_batch_size=2)
    texts = elq_documents().select(range(2))
    with pytest.raises(
        FloatingPointError, match=r"loss of step 1, got nan, for the mentions \d-0, \d-0; look"
    ):
        ElqTrainer(model, options, collator, texts).train()
