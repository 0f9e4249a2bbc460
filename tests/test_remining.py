"""Hard negatives that the current model mines again and again, and what a resumed run makes of them."""

import shutil

import numpy as np
import pytest
import torch

from hf_blink.modeling.modeling_blink_biencoder import BlinkBiEncoder
from hf_blink.training.arguments import BlinkTrainingArguments
from hf_blink.training.batch_sampling import BatchPlan, EntityBatchSampler
from hf_blink.training.collators import BiEncoderCollator
from hf_blink.training.remining import MinedMentions, MiningCallback
from hf_blink.training.trainers import HardNegativeTrainer


class Miner:
    """Gives each mention the same two entities, which change with the mining; remembers when it was asked."""

    def __init__(self):
        self.numbers: list[int] = []
        self.weights: list[float] = []

    def mine(self, bi_encoder, mentions, number):
        self.numbers.append(number)
        self.weights.append(bi_encoder.get_input_embeddings().weight.sum().item())
        return np.tile(np.array([number % 6, (number + 1) % 6]), (len(mentions), 1))


@pytest.fixture
def trainer(tiny_encoder, processor, knowledge_base, mentions, tmp_path):
    """Makes a trainer of two steps an epoch, with a checkpoint after each step."""

    def make(miner, **options):
        torch.manual_seed(0)
        settings = {
            "max_steps": 6, "per_device_train_batch_size": 4, "num_hard_negatives": 1, "save_strategy": "steps",
            "save_steps": 1, "save_total_limit": 9, "use_cpu": True, "disable_tqdm": True, "logging_strategy": "no",
        }  # fmt: skip
        arguments = BlinkTrainingArguments(str(tmp_path / "run"), **{**settings, **options})
        collator = BiEncoderCollator(processor, knowledge_base)
        model = BlinkBiEncoder.from_encoder(tiny_encoder)
        return HardNegativeTrainer(model, arguments, collator, mentions, miner=miner)

    return make


def weights(trainer) -> torch.Tensor:
    return torch.cat([value.flatten() for value in trainer.model.state_dict().values()])


def test_each_epoch_mines_with_the_model_as_it_is(trainer, tmp_path):
    miner = Miner()
    trainer(miner).train()
    assert miner.numbers == [0, 1, 2]
    assert len(set(miner.weights)) == 3
    assert np.load(tmp_path / "run/mined/epoch-2.npz")["rows"].tolist() == [[2, 3]] * 8


def test_mining_every_few_steps_and_epochs_stay_passes_over_the_mentions(trainer):
    miner = Miner()
    made = trainer(miner, max_steps=-1, num_train_epochs=2, mine_every_steps=1)
    made.train()
    assert made.state.global_step == 4, "two passes of two steps"
    assert miner.numbers == [0, 1, 2, 3]
    half = trainer(
        Miner(), max_steps=-1, num_train_epochs=2, mine_every_steps=1, per_device_train_batch_size=5
    )
    assert half.args.max_steps == 4, "8 mentions in batches of 5 are two steps a pass"


def test_a_trainer_leaves_its_arguments_as_they_are(
    trainer, bi_encoder, processor, knowledge_base, mentions, tmp_path
):
    arguments = BlinkTrainingArguments(str(tmp_path), num_train_epochs=2, mine_every_steps=1, use_cpu=True)
    collator = BiEncoderCollator(processor, knowledge_base)
    HardNegativeTrainer(bi_encoder, arguments, collator, mentions, miner=Miner())
    assert arguments.max_steps == -1


def test_files_that_no_checkpoint_needs_are_removed(trainer, tmp_path):
    """Two steps an epoch: step 3 is in the middle of the second, number 1, and the third is number 2."""
    trainer(Miner(), save_steps=3, save_total_limit=1, max_steps=5).train()
    assert sorted(file.name for file in (tmp_path / "run/mined").iterdir()) == ["epoch-1.npz", "epoch-2.npz"]
    shutil.rmtree(tmp_path / "run")
    trainer(Miner(), save_strategy="no").train()
    assert sorted(file.name for file in (tmp_path / "run/mined").iterdir()) == ["epoch-2.npz"]


@pytest.mark.parametrize("step", [3, 4], ids=["in the middle of an epoch", "between epochs"])
def test_a_resumed_run_ends_with_the_same_weights(trainer, tmp_path, step):
    whole = trainer(Miner())
    whole.train()
    expected = weights(whole)
    for later in range(step + 1, 7):
        shutil.rmtree(tmp_path / f"run/checkpoint-{later}")
    miner = Miner()
    resumed = trainer(miner)
    resumed.train(resume_from_checkpoint=str(tmp_path / f"run/checkpoint-{step}"))
    assert torch.equal(weights(resumed), expected)
    assert miner.numbers == [2], "the second epoch's are read again, or not needed any more"


class KnownMiner(Miner):
    """A miner whose work is found again."""

    def __init__(self, settings: str = ""):
        super().__init__()
        self.settings = settings

    def fingerprint(self, bi_encoder, mentions, number):
        weight = bi_encoder.get_input_embeddings().weight.sum().item()
        return f"{self.settings} {weight} {len(mentions)} {number}"


@pytest.mark.parametrize(
    ("settings", "step", "mined"),
    [("", 4, []), ("", 0, [1, 2]), ("other", 4, [2]), ("other", 0, [0, 1, 2])],
)
def test_a_kill_after_mining_and_before_a_checkpoint_loses_no_mining_of_the_same_model(
    trainer, tmp_path, settings, step, mined
):
    """Step 4 is where epoch 2 begins; 0 is the start, where the file of epoch 0 alone is from before."""
    whole = trainer(KnownMiner())
    whole.train()
    expected = weights(whole)
    for later in range(step + 1, 7):
        shutil.rmtree(tmp_path / f"run/checkpoint-{later}")
    if not step:
        for later in (1, 2):
            (tmp_path / f"run/mined/epoch-{later}.npz").unlink()
    miner = KnownMiner(settings)
    resumed = trainer(miner)
    resumed.train(resume_from_checkpoint=str(tmp_path / f"run/checkpoint-{step}") if step else None)
    assert miner.numbers == mined and torch.equal(weights(resumed), expected)


def test_a_resume_in_the_middle_without_the_mined_file_is_refused(trainer, tmp_path):
    trainer(Miner(), max_steps=3).train()
    shutil.rmtree(tmp_path / "run/mined")
    with pytest.raises(FileNotFoundError, match=r"negatives of the interrupted epoch in .*epoch-1.npz"):
        trainer(Miner()).train(resume_from_checkpoint=str(tmp_path / "run/checkpoint-3"))


def test_the_batch_holds_what_was_mined(mentions, knowledge_base, tmp_path):
    mined = MinedMentions(mentions, knowledge_base)
    with pytest.raises(ValueError, match="expected mined negatives before the first batch"):
        mined[0]
    with pytest.raises(ValueError, match=r"entity rows \[8, num_negatives\], got \[3, 2\]"):
        mined.use(np.zeros((3, 2), int))
    mined.use(np.array([[0, -1]] * 4 + [[4, 5]] * 4))
    assert mined[3]["hard_negative_ids"] == ["jaguar-cat"]
    assert mined.__getitems__([4])[0]["hard_negative_ids"] == ["paris-fr", "paris-tx"]
    assert mined["label_ids"][0] == ["jaguar-cat"] and len(mined) == 8
    assert MiningCallback(Miner(), mined, EntityBatchSampler([["a"]], None, BatchPlan(1))).mentions is mined
