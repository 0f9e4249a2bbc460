"""A training that does not fit into memory says what to lower."""

from typing import Any

import pytest
import torch

from hf_blink.modeling.modeling_blink_crossencoder import BlinkCrossEncoder
from hf_blink.training.arguments import BlinkTrainingArguments
from hf_blink.training.biencoder_rounds import NameNegativeTrainer
from hf_blink.training.collators import BiEncoderCollator, CrossEncoderCollator
from hf_blink.training.cross_encoder_trainer import CrossEncoderTrainer
from hf_blink.training.hard_negatives import mine_candidates, mine_hard_negatives
from hf_blink.training.memory_advice import is_out_of_memory
from hf_blink.training.recipe_arguments import run_script
from hf_blink.training.trainers import HardNegativeTrainer

CUDA = "CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of 79 GiB of which ..."
OF_THE_MACHINE = (
    "[enforce fail at alloc_cpu.cpp:121] . DefaultCPUAllocator: can't allocate memory: you tried to allocate "
    "4294967296 bytes. Error code 12 (Cannot allocate memory)"
)


@pytest.fixture
def settings(tmp_path):
    def make(**options):
        fixed: dict[str, Any] = {"max_steps": 1, "use_cpu": True, "disable_tqdm": True, "save_strategy": "no"}
        return BlinkTrainingArguments(str(tmp_path), per_device_train_batch_size=8, **fixed, **options)

    return make


def failing(error):
    def step(*args, **options):
        raise error

    return step


def test_a_gpu_out_of_memory_names_what_to_lower_and_the_values(
    linker, bi_encoder, processor, knowledge_base, mentions, settings
):
    mined = mine_hard_negatives(linker, mentions, num_negatives=3, progress=False)
    collator = BiEncoderCollator(processor, knowledge_base)
    trainer = HardNegativeTrainer(bi_encoder, settings(num_hard_negatives=3), collator, mined)
    trainer.compute_loss = failing(torch.OutOfMemoryError(CUDA))  # type: ignore[method-assign]
    with pytest.raises(MemoryError) as caught:
        trainer.train()
    assert str(caught.value) == (
        "expected a training that fits into memory, got: CUDA out of memory; lower, in this order: gradient_cache_chunk "
        "(now 0, the whole batch: 2 trains the same in parts of 2); activation_checkpointing (now false: true keeps fewer "
        "activations, for a third more time); per_device_train_batch_size (now 8); num_hard_negatives (now 3); "
        "mention_length (now 32); entity_length (now 32)"
    )
    assert isinstance(caught.value.__cause__, torch.OutOfMemoryError)


def test_negatives_by_name_are_called_as_in_a_recipe(
    linker, bi_encoder, processor, knowledge_base, mentions, settings
):
    mined = mine_hard_negatives(linker, mentions, num_negatives=3, progress=False)
    collator = BiEncoderCollator(processor, knowledge_base)
    trainer = NameNegativeTrainer(bi_encoder, settings(num_hard_negatives=3), collator, mined)
    assert trainer.sizes() == {"name_negatives": 3, "mention_length": 32, "entity_length": 32}


def test_a_machine_out_of_memory_of_a_cross_encoder(
    linker, tiny_encoder, processor, knowledge_base, mentions, settings
):
    mined = mine_candidates(linker, mentions.select(range(7)), num_candidates=4, progress=False)
    model = BlinkCrossEncoder.from_encoder(tiny_encoder, pooling="mean")
    collator = CrossEncoderCollator(processor, knowledge_base, 0.05)
    trainer = CrossEncoderTrainer(model, settings(activation_checkpointing=True), collator, mined)
    trainer.compute_loss = failing(RuntimeError(OF_THE_MACHINE))  # type: ignore[method-assign]
    with pytest.raises(
        MemoryError,
        match=r"in this order: per_device_train_batch_size \(now 8, and raise gradient_accumulation_steps as much\); "
        r"num_candidates \(now 4\); mention_length",
    ):
        trainer.train()


def test_other_errors_pass_and_checkpointing_trains(
    bi_encoder, processor, knowledge_base, mentions, settings
):
    """What the advice names works: a chunk and checkpointing together."""
    collator = BiEncoderCollator(processor, knowledge_base)
    options = {"activation_checkpointing": True, "gradient_cache_chunk": 4, "num_hard_negatives": 1}
    mined = mentions.add_column("hard_negative_ids", [["paris-fr"]] * len(mentions))
    trainer = HardNegativeTrainer(bi_encoder, settings(**options), collator, mined)
    assert trainer.train().training_loss > 0
    trainer.training_step = failing(RuntimeError("size mismatch"))  # type: ignore[method-assign]
    with pytest.raises(RuntimeError, match="size mismatch"):
        trainer.train()
    assert not is_out_of_memory(ValueError("out of memory")) and is_out_of_memory(MemoryError())


@pytest.mark.parametrize(
    "error", [MemoryError("lower it"), FloatingPointError("got nan, for the mentions 7")]
)
def test_a_script_ends_with_the_message_alone(error, capsys):
    with pytest.raises(SystemExit) as ended:
        run_script(failing(error))
    assert ended.value.code == 2 and str(error) in capsys.readouterr().err
