"""How much the cross-encoder's own score and the bi-encoder's count in the final one: fitted, not guessed.

    final score = own_weight * own score + retrieval_weight * bi-encoder's score (similarity / temperature)

The bi-encoder is sure of itself beyond reason on mentions that it was not trained on, and a cross-encoder of few training
mentions is no less so. Both weights are those under which the gold entities of development mentions, which neither was
trained on, are most probable: then the two stages together rank no worse than the first one alone, up to chance, and their
probabilities mean what they say. Mentions whose gold entity was not retrieved do not count, since no weight helps there.
Platt scaling (Platt 1999) with two scores, over candidates.
"""

import logging
from typing import Any, NamedTuple

import torch
from datasets import Dataset
from torch import Tensor
from torch.nn.functional import pad

from hf_blink.training.collators import CrossEncoderCollator
from hf_blink.training.losses import candidate_softmax_loss
from hf_blink.training.shared_linker import modes_kept

logger = logging.getLogger(__name__)

SMALLEST, LARGEST = 0.01, 10.0
FEWEST = 30  # mentions; of fewer, two weights are a guess
_STEPS = 200


class ScoreWeights(NamedTuple):
    """What `fit_score_weights` found.

    Attributes:
        own: of the cross-encoder's own score.
        retrieval: of the bi-encoder's score.
        loss: mean loss of the mentions with these weights.
    """

    own: float
    retrieval: float
    loss: float


def weigh_scores(
    model: Any, dataset: Dataset, collator: CrossEncoderCollator, *, batch_size: int = 8
) -> ScoreWeights | None:
    """Fits both weights on mentions that neither stage was trained on, and puts them into the model.

    `own` goes into the linear layer, `retrieval` into the configuration's `retrieval_weight`; both are saved with the
    model. A model without the bi-encoder's score (`retrieval_weight` 0, BLINK's) stays without it.

    Args:
        model: a [`BlinkCrossEncoder`], not wrapped.
        dataset: mentions with candidates (`mine_candidates`).
        collator: of the model's training.
        batch_size: mentions at once.

    Returns:
        The weights, `own` relative to what it was; None, and the model as it was, with a warning, where fewer than 30
        mentions have their gold entity among the retrieved candidates.
    """
    dataset = _retrieved(dataset)
    if len(dataset) < FEWEST:
        logger.warning(
            "expected %d mentions or more, with their gold entity retrieved, to fit the weights of both scores on, got %d; "
            "they stay as they are",
            FEWEST, len(dataset),
        )  # fmt: skip
        return None
    scores = candidate_scores(model, dataset, collator, batch_size)
    if not model.config.retrieval_weight:
        scores["retrieval_scores"] = torch.zeros_like(scores["retrieval_scores"])
    before = candidate_softmax_loss(
        scores["own_scores"] + model.config.retrieval_weight * scores["retrieval_scores"],
        scores["gold"],
        scores["candidate_mask"],
    )
    weights = fit_score_weights(**scores)
    if not model.config.retrieval_weight:
        weights = weights._replace(retrieval=0.0)
    with torch.no_grad():
        model.score.weight.mul_(weights.own)
        model.score.bias.mul_(weights.own)
    model.config.retrieval_weight = weights.retrieval
    logger.info(
        "on %d development mentions: own score times %.2f, the bi-encoder's times %.2f; loss %.3f, was %.3f",
        len(dataset),
        weights.own,
        weights.retrieval,
        weights.loss,
        before,
    )
    return weights


def candidate_scores(
    model: Any, dataset: Dataset, collator: CrossEncoderCollator, batch_size: int = 8
) -> dict[str, Tensor]:
    """The arguments of `fit_score_weights`, on the CPU.

    Args:
        model: a [`BlinkCrossEncoder`]; its mode stays as it is.
        dataset: mentions with candidates.
        collator: makes batches of the model.
        batch_size: mentions at once.
    """
    width = max(len(found) for found in dataset["candidate_ids"])
    found: dict[str, list[Tensor]] = {
        name: [] for name in ("own_scores", "retrieval_scores", "gold", "candidate_mask")
    }
    weight, device = model.config.retrieval_weight, model.device
    with modes_kept(model), torch.inference_mode():
        model.eval()
        for start in range(0, len(dataset), batch_size):
            rows = range(start, min(start + batch_size, len(dataset)))
            batch = collator([dataset[row] for row in rows])
            gold = batch.pop("gold")
            inputs = {name: value.to(device) for name, value in batch.items() if name != "mention_ids"}
            mask, retrieval = batch["candidate_mask"], batch["retrieval_scores"]
            own = model(**inputs).scores.float().cpu().masked_fill(~mask, 0.0) - weight * retrieval
            parts = {"own_scores": own, "retrieval_scores": retrieval, "gold": gold, "candidate_mask": mask}
            for name, part in parts.items():
                found[name].append(pad(part, (0, width - part.shape[1])))
    return {name: torch.cat(parts) for name, parts in found.items()}


def fit_retrieval_weight(dataset: Dataset, temperature: float) -> float:
    """The weight of the bi-encoder's scores alone under which the gold candidates are most probable; needs no model.

    Args:
        dataset: mentions with candidates (`mine_candidates`) that the bi-encoder was not trained on.
        temperature: the bi-encoder's.

    Returns:
        The weight; 1 where fewer than 30 mentions have their gold entity among the retrieved candidates.
    """
    dataset = _retrieved(dataset)
    if len(dataset) < FEWEST:
        return 1.0
    rows = [dataset[name] for name in ("candidate_ids", "candidate_scores", "label_ids")]
    shape = (len(dataset), max(len(found) for found in rows[0]))
    scores, gold, mask = (
        torch.zeros(shape),
        torch.zeros(shape, dtype=torch.bool),
        torch.zeros(shape, dtype=torch.bool),
    )
    for i, (found, values, labels) in enumerate(zip(*rows, strict=True)):
        scores[i, : len(found)] = torch.tensor(values) / temperature
        gold[i, : len(found)] = torch.tensor([entity in labels for entity in found])
        mask[i, : len(found)] = True
    return fit_score_weights(torch.zeros(shape), scores, gold, mask).retrieval


def fit_score_weights(
    own_scores: Tensor, retrieval_scores: Tensor, gold: Tensor, candidate_mask: Tensor
) -> ScoreWeights:
    """The two weights, from 0.01 to 10, with the smallest `candidate_softmax_loss`.

    A prior (normal in the logarithm, around 1) keeps them finite where all mentions are right; it counts like one mention.

    Args:
        own_scores: the cross-encoder's, without the bi-encoder's part `[num_mentions, num_candidates]`.
        retrieval_scores: similarity / temperature `[num_mentions, num_candidates]`.
        gold: True for gold candidates `[num_mentions, num_candidates]`, at least one a mention.
        candidate_mask: False for padding `[num_mentions, num_candidates]`.
    """
    own = own_scores.detach().double().masked_fill(~candidate_mask, 0.0)
    retrieval = retrieval_scores.detach().double().masked_fill(~candidate_mask, 0.0)
    logs = torch.zeros(2, dtype=torch.float64, device=own.device, requires_grad=True)
    optimizer = torch.optim.LBFGS([logs], max_iter=_STEPS, line_search_fn="strong_wolfe")

    def loss(weights: Tensor) -> Tensor:
        return candidate_softmax_loss(weights[0] * own + weights[1] * retrieval, gold, candidate_mask)

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = loss(logs.exp()) + logs.square().sum() / (2 * len(own))
        value.backward()
        return value

    with torch.enable_grad():
        optimizer.step(closure)
    weights = logs.detach().exp().clamp(SMALLEST, LARGEST)
    own_weight, retrieval_weight = weights.tolist()
    return ScoreWeights(own_weight, retrieval_weight, float(loss(weights)))


def _retrieved(dataset: Dataset) -> Dataset:
    """The mentions whose gold entity is among the candidates by itself, as it has to be in linking."""
    return dataset.filter(bool, input_columns="gold_retrieved")
