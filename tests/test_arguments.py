"""The training arguments that this package adds or fixes."""

import pytest

from hf_blink.training import arguments
from hf_blink.training.arguments import BlinkTrainingArguments


def test_arguments_refuse_what_breaks_the_collators(tmp_path):
    with pytest.raises(ValueError, match="remove_unused_columns=False"):
        BlinkTrainingArguments(str(tmp_path), remove_unused_columns=True)
    with pytest.raises(ValueError, match="num_hard_negatives"):
        BlinkTrainingArguments(str(tmp_path), num_hard_negatives=-1)


def test_a_process_waits_longer_for_others_than_transformers_does(tmp_path):
    assert BlinkTrainingArguments(str(tmp_path), use_cpu=True).ddp_timeout == 24 * 60 * 60


def test_precision_is_bf16_where_a_gpu_has_it(tmp_path, monkeypatch):
    def made(**options):
        made = BlinkTrainingArguments(str(tmp_path), use_cpu=options.pop("use_cpu", True), **options)
        return made.mixed_precision

    assert made() == "no" and made(precision="bf16") == "bf16" and made(bf16=True) == "bf16"
    monkeypatch.setattr(arguments, "_gpu_has_bf16", lambda: True)
    monkeypatch.setattr("transformers.training_args.is_torch_bf16_gpu_available", lambda: True)
    assert made() == "no", "a CPU computes in float32 unless it is told otherwise"
    assert made(use_cpu=False) == "bf16" and made(use_cpu=False, precision="float32") == "no"
    assert made(use_cpu=False, fp16=True) == "fp16", "what is asked for counts"
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "fp16")
    assert made(use_cpu=False) == "fp16"
    with pytest.raises(ValueError, match="one precision, got precision: float32 and fp16; leave one out"):
        made(precision="float32")
    monkeypatch.delenv("ACCELERATE_MIXED_PRECISION")
    with pytest.raises(ValueError, match="one precision, got precision: float32 and bf16; leave"):
        made(precision="float32", bf16=True)
    with pytest.raises(ValueError, match="expected precision auto, bf16, fp16 or float32, got 'half'"):
        made(precision="half")


def test_the_gpu_is_asked_for_bf16_of_its_own(monkeypatch):
    """Older GPUs say that they support bf16, which they emulate slowly."""
    monkeypatch.setattr(arguments, "is_torch_cuda_available", lambda: True)
    monkeypatch.setattr(arguments, "is_torch_bf16_gpu_available", lambda: True)
    for capability, has in (((7, 5), False), ((8, 0), True), ((9, 0), True)):
        monkeypatch.setattr("torch.cuda.get_device_capability", lambda found=capability: found)
        assert arguments._gpu_has_bf16() == has
    monkeypatch.setattr(arguments, "is_torch_cuda_available", lambda: False)
    assert not arguments._gpu_has_bf16()


def test_tensorboard_that_is_not_installed_is_said_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(arguments, "find_spec", lambda name: None)
    with pytest.raises(
        ValueError, match=r"report_to: tensorboard, got none installed; pip install 'hf_blink\[tensor"
    ):
        BlinkTrainingArguments(str(tmp_path), report_to=["tensorboard"])
