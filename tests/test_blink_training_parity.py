"""BLINK's own numbers of training: losses of our trainers, the weights that its optimizer moves, and five steps of it."""

from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from datasets import Dataset
from torch import Tensor, nn

import hf_blink
from hf_blink.modeling.batch_encoding import encode_entities, encode_mentions
from hf_blink.original_entities import import_blink_entities
from hf_blink.training.arguments import BlinkTrainingArguments
from hf_blink.training.collators import BiEncoderCollator
from hf_blink.training.dataset_readers import MENTION_FEATURES
from hf_blink.training.trainers import HardNegativeTrainer, InBatchTrainer
from tests import minilm_example as minilm
from tests.oracle import CHECKPOINTS, contexts, gold, texts
from tests.oracle import oracle as oracle

BLINK, BERT = CHECKPOINTS / "blink", str(CHECKPOINTS / "bert_tiny")
RECIPE = Path(hf_blink.training.__file__).parent / "recipes/blink_2020.yaml"
STEPS = "train_5_steps_variants_lr1e-3_total5_warmup2_dropout_off"
# What the recipe says of training itself; the sizes and the schedule are the reference's.
KEYS = (
    "weight_decay", "max_grad_norm", "adam_epsilon", "blink_optimizer", "fixed_length", "unique_entities",
    "same_world_batches", "seed",
)  # fmt: skip


def arguments(folder, **options: Any) -> BlinkTrainingArguments:
    """BLINK's recipe, with all ten mentions in a batch."""
    recipe = yaml.safe_load(RECIPE.read_text(encoding="utf-8"))
    settings: dict[str, Any] = {name: recipe[name] for name in KEYS} | {
        "per_device_train_batch_size": 10, "max_steps": 5, "learning_rate": 1e-3, "warmup_steps": 2, "use_cpu": True,
        "disable_tqdm": True, "save_strategy": "no", "logging_steps": 1,
    }  # fmt: skip
    return BlinkTrainingArguments(str(folder), **(settings | options))


def tiny() -> tuple[Any, Any]:
    return hf_blink.import_blink_biencoder(
        BLINK / "biencoder_tiny.bin", BLINK / "biencoder_tiny.json", bert_model=BERT
    )


@pytest.fixture(scope="module")
def knowledge_base(oracle):
    return import_blink_entities(BLINK / "entity.jsonl")


@pytest.fixture(scope="module")
def mentions(oracle, knowledge_base) -> Dataset:
    """With the reference's hard negative of each mention."""
    ids = knowledge_base.entity_ids(gold(oracle))
    negatives = knowledge_base.entity_ids(oracle["tiny"]["hard_negative"]["negatives"])
    rows = [
        {
            "id": str(i), "context_left": context.left, "mention": context.mention, "context_right": context.right,
            "label_ids": [ids[i]], "world": None, "doc_id": None,
        }
        for i, context in enumerate(contexts(oracle))
    ]  # fmt: skip
    dataset = Dataset.from_list(rows, features=MENTION_FEATURES)
    return dataset.add_column("hard_negative_ids", [[negative] for negative in negatives])


@pytest.mark.parametrize("name", ["tiny", "minilm"])
def test_losses_of_the_trainers(oracle, name, knowledge_base, mentions, tmp_path):
    """In-batch, the loss is BLINK's. With hard negatives it is not: BLINK codes a sigmoid a pair, which nothing calls (see
    `test_hard_negative_loss` of tests/test_blink_parity.py), and the paper has one softmax over the batch's entities and
    the negatives, as ours does. Its value is computed here from the reference's scores.
    """
    numbers, rows = oracle[name], gold(oracle)
    model, processor = tiny() if name == "tiny" else (minilm.bi_encoder(), minilm.processor(32))
    collator = BiEncoderCollator(processor, knowledge_base)
    of_mentions = torch.from_numpy(encode_mentions(model, processor, contexts(oracle)))
    of_entities = torch.from_numpy(encode_entities(model, processor, *texts(oracle)))

    options = arguments(tmp_path, blink_optimizer=False, num_hard_negatives=1)
    trainer = InBatchTrainer(model, options, collator, mentions)
    batch = trainer.data_collator(mentions.to_list())
    assert batch["entity_rows"].tolist() == rows
    loss = trainer.vectors_loss(of_mentions, of_entities[batch["entity_rows"]], batch)
    assert loss.item() == pytest.approx(numbers["in_batch"]["loss"], rel=1e-4)

    negatives = numbers["hard_negative"]["negatives"]
    mined = mentions.remove_columns("hard_negative_ids").add_column(
        "hard_negative_ids", [[entity] for entity in knowledge_base.entity_ids(negatives)]
    )
    trainer = HardNegativeTrainer(model, options, collator, mined)
    batch = trainer.data_collator(mined.to_list())
    assert batch["entity_rows"].tolist() == rows + negatives
    loss = trainer.vectors_loss(of_mentions, of_entities[batch["entity_rows"]], batch)
    scores = np.array(numbers["scores"])[:, rows + negatives]
    expected = np.mean(np.logaddexp.reduce(scores, axis=1) - scores.diagonal())
    assert loss.item() == pytest.approx(expected, rel=1e-4)


def trainer_of_five_steps(knowledge_base, mentions, folder) -> tuple[Any, InBatchTrainer]:
    model, processor = tiny()
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    mentions = mentions.remove_columns("hard_negative_ids")
    collator = BiEncoderCollator(processor, knowledge_base)
    return model, InBatchTrainer(model, arguments(folder), collator, mentions)


def test_groups_of_the_optimizer(oracle, knowledge_base, mentions, tmp_path):
    """Of BLINK's `type_optimization` ours has its default, the layers; `all`, with the embeddings, is what decays without the
    freezing. The others are layers 11 and 8 to 11 by name, which these weights do not have: BLINK trains nothing there.
    """
    model, trainer = trainer_of_five_steps(knowledge_base, mentions, tmp_path)
    names = {id(value): name for name, value in model.named_parameters()}
    for option in ("all_encoder_layers", "all"):
        expected = oracle["tiny"]["optimizer_groups"][option]
        if option == "all":
            model.mention_encoder.embeddings.requires_grad_(True)
            model.entity_encoder.embeddings.requires_grad_(True)
            trainer.optimizer = None
        groups = trainer.create_optimizer().param_groups
        assert [len(group["params"]) for group in groups] == [expected["n_decay"], expected["n_no_decay"]]
        assert [group["weight_decay"] for group in groups] == expected["wd"]
        trained = [[names[id(value)] for value in group["params"]] for group in groups]
        assert any("pooler" in name for name in chain(*trained)) == expected["has_pooler"]
        if option == "all_encoder_layers":
            assert any("embeddings" in name for name in chain(*trained)) == expected["has_embeddings"]
            theirs = [
                name.replace("context_encoder.bert_model", "mention_encoder")
                for name in expected["decay_sample"]
            ]
            assert trained[0][: len(theirs)] == theirs


class UncorrectedAdamW(torch.optim.Optimizer):
    """Adam as BLINK has it: its means are not corrected for their start at 0, and weights decay after the step."""

    def __init__(self, groups: Any):
        super().__init__(groups, {})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            first, second = group["betas"]
            for value in group["params"]:
                mean, square = self.state[value].setdefault("means", (value * 0, value * 0))
                gradient: Tensor = value.grad
                mean.mul_(first).add_(gradient, alpha=1 - first)
                square.mul_(second).addcmul_(gradient, gradient, value=1 - second)
                value.addcdiv_(mean, square.sqrt() + group["eps"], value=-group["lr"])
                value.mul_(1 - group["lr"] * group["weight_decay"])


def logged(trainer: InBatchTrainer, name: str) -> list[float]:
    return [entry[name] for entry in trainer.state.log_history if name in entry]


def test_five_steps(oracle, knowledge_base, mentions, tmp_path):
    """Losses, norms of gradients, rates and weights, with BLINK's form of Adam in the place of torch's.

    The reference is the variant whose embeddings have no gradient. In BLINK they have one, which is counted in the norm that
    gradients are cut to and, as the optimizer does not own them, never set to 0: from the third step on its losses differ
    by some 4e-4 of their size. That is an oversight of BLINK's, and not reproduced.
    """
    model, trainer = trainer_of_five_steps(knowledge_base, mentions, tmp_path)
    trainer.optimizer = UncorrectedAdamW(trainer.create_optimizer().param_groups)
    trainer.train()
    expected, numbers = oracle["tiny"][STEPS]["frozen_params_requires_grad_false"], oracle["tiny"]
    np.testing.assert_allclose(logged(trainer, "loss"), expected["loss"], rtol=1e-4)
    np.testing.assert_allclose(logged(trainer, "grad_norm"), expected["grad_norm_before_clip"], rtol=1e-3)
    as_it_is = numbers["train_5_steps_lr1e-3_warmup2of5_dropout_off"]
    np.testing.assert_allclose(logged(trainer, "learning_rate"), as_it_is["lr_used"], rtol=1e-5)
    query = model.mention_encoder.encoder.layer[0].attention.self.query.weight.detach()
    np.testing.assert_allclose(query.flatten()[:8], expected["query0_first8"], rtol=1e-4, atol=2e-6)
    assert query.sum().item() == pytest.approx(expected["query0_sum"], rel=1e-3)
    np.testing.assert_allclose(logged(trainer, "loss"), as_it_is["loss"], rtol=1e-3)
    assert logged(trainer, "loss") != pytest.approx(as_it_is["loss"], rel=1e-4)


def test_five_steps_with_torchs_adam_go_another_way(oracle, knowledge_base, mentions, tmp_path):
    """What the recipe runs: AdamW that corrects its means, whose first steps are shorter or longer than BLINK's."""
    _, trainer = trainer_of_five_steps(knowledge_base, mentions, tmp_path)
    trainer.train()
    expected = oracle["tiny"][STEPS]["frozen_params_requires_grad_false"]["loss"]
    losses = logged(trainer, "loss")
    np.testing.assert_allclose(losses[:2], expected[:2], rtol=1e-4)  # the first rate is 0
    assert losses[2:] != pytest.approx(expected[2:], rel=1e-2)
