from types import SimpleNamespace

import torch
from datasets import Dataset

from hf_blink.training.collators import BiEncoderCollator
from hf_blink.training.short_training import one_device, train_briefly
from hf_blink.training.trainers import InBatchTrainer


def test_train_briefly_changes_the_model_and_leaves_no_files_or_lines(
    bi_encoder, processor, knowledge_base, mentions: Dataset, tmp_path, monkeypatch, capfd
):
    monkeypatch.chdir(tmp_path)
    before = {name: value.clone() for name, value in bi_encoder.state_dict().items()}
    trained = train_briefly(
        InBatchTrainer,
        bi_encoder,
        BiEncoderCollator(processor, knowledge_base),
        mentions,
        progress=False,
        max_steps=1,
        learning_rate=1e-2,
        warmup_steps=0,
        use_cpu=True,
    )
    assert trained is bi_encoder and not trained.training and trained.device.type == "cpu"
    assert any(not torch.equal(value, before[name]) for name, value in trained.state_dict().items())
    assert list(tmp_path.iterdir()) == []
    shown = capfd.readouterr()
    assert "train_loss" not in shown.out + shown.err and "it/s" not in shown.err


def test_of_several_gpus_the_first_is_used():
    several, none = SimpleNamespace(n_gpu=2, _n_gpu=2), SimpleNamespace(n_gpu=0, _n_gpu=0)
    one_device(several)
    one_device(none)
    assert (several._n_gpu, none._n_gpu) == (1, 0)
