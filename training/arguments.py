"""Training arguments: transformers' own, with the few that entity linking adds and defaults that suit it."""

import os
from dataclasses import dataclass, field
from importlib.util import find_spec

import torch
from transformers import TrainingArguments
from transformers.utils import is_torch_bf16_gpu_available, is_torch_cuda_available

from hf_blink.training.distillation_losses import DISTILLATION_LOSSES, check_distillation

HARD_NEGATIVE_LOSSES = ("softmax", "bce")


@dataclass
class BlinkTrainingArguments(TrainingArguments):
    """[`~transformers.TrainingArguments`] for the trainers of this package.

    Args:
        num_hard_negatives: mined hard negatives that join the batch's entities for each mention
            (`HardNegativeTrainer`); they are negatives for the other mentions too.
        mine_every_steps: steps after which `HardNegativeTrainer` mines again with its miner; 0 mines at each epoch,
            which `train_biencoder` does only with `mine_again`.
        same_world_batches: draw each batch from one world, where mentions have worlds.
        unique_entities: no gold entity twice in a batch where that can be, and once in the softmax where it cannot;
            False is BLINK's batch, in which repetitions are negatives of each other.
        gather_negatives: the entities of all processes are negatives, not only a process's own.
        gradient_cache_chunk: mentions and entities that go through the model at once, for batches larger than memory
            allows (gradient_cache); 0 is the whole batch.
        fixed_length: pad every window to the processor's length (BLINK), and not to the longest of the batch.
        blink_optimizer: BLINK's choice of weights (common/optimizer.py, `all_encoder_layers`): embeddings stay as they
            are, the weights of norms decay, biases do not.
        span_loss_weight: weight of the loss of spans beside that of entities (`ElqTrainer`).
        hard_negative_loss: of an ELQ model's second stage: softmax over the entities of the batch and their neighbours, or
            bce, ELQ's, over each mention's own.
        precision: arithmetic of the forward pass: auto is bf16 on a CUDA GPU that has it and float32 elsewhere; bf16, fp16
            and float32 say which. `bf16: true` and `fp16: true`, which `transformers` has, count before auto, and so does
            the setting of `accelerate launch`. Weights and losses are float32 in any case.
        early_stopping_patience: evaluations without a better one after which training stops; 0 goes on to the end. The
            best model by recall@64 is then the result (`metric_for_best_model` names another measure).
        matryoshka_dims: lengths, such as 384 256 128 64, in which the bi-encoder's vectors are to serve: its loss is the
            mean over the truncations to them (see `truncate_dim`); empty trains the whole vectors alone.
        dry_run: the training scripts say what the run would do, and train nothing (see dry_run.py).
        distillation_alpha: weight of the labels beside the teacher (`DistillationTrainer`), 0 to 1.
        distillation_temperature: divides the scores of teacher and student; higher ones let lower candidates count more.
        distillation_loss: cross_entropy, the paper's, or kl (see distillation_losses).
        ddp_timeout: seconds that a process waits for the others, a day; `transformers` gives up after half an hour, which
            a process that mines, scores or encodes the larger share of much data may need.
    """

    per_device_train_batch_size: int = field(default=32, metadata={"help": "Mentions a process and step."})
    per_device_eval_batch_size: int = field(
        default=32, metadata={"help": "Mentions a process and evaluation step."}
    )
    learning_rate: float = field(default=1e-4, metadata={"help": "Peak learning rate (BLINK: 1e-5 to 3e-5)."})
    warmup_steps: float = field(
        default=0.1, metadata={"help": "Steps of linear warm-up; below 1 a share of all steps."}
    )
    weight_decay: float = field(default=0.01, metadata={"help": "Decay of all weights but biases and norms."})
    # HfArgumentParser wants the None first.
    report_to: None | str | list[str] = field(  # noqa: RUF036
        default="none", metadata={"help": "Where to log, such as tensorboard."}
    )
    logging_steps: float = field(
        default=0.05,
        metadata={"help": "Steps between two reports of the loss; below 1 a share of all steps."},
    )
    save_strategy: str = field(
        default="epoch", metadata={"help": "When to write a checkpoint: no, steps or epoch."}
    )
    save_total_limit: int | None = field(default=2, metadata={"help": "Checkpoints to keep."})
    prediction_loss_only: bool = field(
        default=True, metadata={"help": "Evaluate the loss; evaluate_linker measures recall."}
    )
    remove_unused_columns: bool = field(
        default=False, metadata={"help": "The collators need the columns: keep False."}
    )
    dataloader_pin_memory: bool = field(
        default=False, metadata={"help": "Pin batches in memory (for a GPU)."}
    )
    ddp_timeout: int = field(
        default=86_400, metadata={"help": "Seconds that a process waits for the others."}
    )
    num_hard_negatives: int = field(
        default=4, metadata={"help": "Mined hard negatives a mention (HardNegativeTrainer)."}
    )

    mine_every_steps: int = field(
        default=0, metadata={"help": "Steps between minings of hard negatives; 0: see mine_again."}
    )
    same_world_batches: bool = field(default=True, metadata={"help": "Draw each batch from one world."})
    unique_entities: bool = field(
        default=True, metadata={"help": "No gold entity twice in a batch; false is BLINK's batch."}
    )
    gather_negatives: bool = field(
        default=True, metadata={"help": "Entities of all processes are negatives."}
    )
    gradient_cache_chunk: int = field(
        default=0, metadata={"help": "Mentions through the model at once, for large batches; 0 is all."}
    )
    fixed_length: bool = field(default=False, metadata={"help": "Pad every window to its full length."})
    blink_optimizer: bool = field(
        default=False, metadata={"help": "Frozen embeddings, decayed norms, as in BLINK."}
    )
    precision: str = field(
        default="auto",
        metadata={
            "help": "auto: bf16 on a GPU that has it, else float32.",
            "choices": ["auto", "bf16", "fp16", "float32"],
        },
    )
    dry_run: bool = field(
        default=False, metadata={"help": "Of the scripts: say what the run would do, and train nothing."}
    )
    early_stopping_patience: int = field(
        default=0, metadata={"help": "Evaluations without a better one before training stops; 0 never."}
    )
    span_loss_weight: float = field(
        default=1.0, metadata={"help": "Weight of the loss of spans beside that of entities (ELQ)."}
    )
    hard_negative_loss: str = field(
        default="softmax",
        metadata={"help": "Loss of an ELQ model's hard negatives.", "choices": list(HARD_NEGATIVE_LOSSES)},
    )
    matryoshka_dims: list[int] = field(
        default_factory=list,
        metadata={"help": "Lengths in which vectors are to serve; none trains whole ones."},
    )
    distillation_alpha: float = field(
        default=0.5, metadata={"help": "Weight of the labels beside the teacher, 0 to 1."}
    )
    distillation_temperature: float = field(
        default=1.0, metadata={"help": "Divides the scores of teacher and student."}
    )
    distillation_loss: str = field(
        default="kl", metadata={"help": "Distance from the teacher.", "choices": list(DISTILLATION_LOSSES)}
    )

    def __post_init__(self) -> None:
        if self.early_stopping_patience:
            self.load_best_model_at_end = True
            self.restore_callback_states_from_checkpoint = True  # a resumed run goes on counting
            if self.eval_strategy == "no":
                self.eval_strategy, self.eval_steps = self.save_strategy, self.save_steps
        if self.load_best_model_at_end and self.metric_for_best_model is None:
            self.metric_for_best_model, self.greater_is_better = "recall@64", True
        self._choose_precision()
        _check_loggers(self.report_to)
        super().__post_init__()
        for name in (
            "num_hard_negatives",
            "mine_every_steps",
            "gradient_cache_chunk",
            "early_stopping_patience",
        ):
            if getattr(self, name) < 0:
                raise ValueError(f"expected {name} of at least 0, got {getattr(self, name)}")
        if not self.span_loss_weight >= 0 or self.hard_negative_loss not in HARD_NEGATIVE_LOSSES:
            raise ValueError(
                f"expected span_loss_weight of at least 0 and hard_negative_loss among {', '.join(HARD_NEGATIVE_LOSSES)}, "
                f"got {self.span_loss_weight} and {self.hard_negative_loss!r}"
            )
        check_distillation(self.distillation_alpha, self.distillation_temperature, self.distillation_loss)
        if self.remove_unused_columns:
            raise ValueError(
                "expected remove_unused_columns=False, got True; the collators read the dataset's columns"
            )

    def _choose_precision(self) -> None:
        """Sets `bf16` or `fp16`, which `transformers` reads."""
        chosen = {name for name in ("bf16", "fp16") if getattr(self, name)}
        launched = {os.environ.get("ACCELERATE_MIXED_PRECISION", "no")} - {"no"}
        if self.precision not in ("auto", "bf16", "fp16", "float32"):
            raise ValueError(f"expected precision auto, bf16, fp16 or float32, got {self.precision!r}")
        if self.precision == "auto":
            self.bf16 |= not chosen and not launched and not self.use_cpu and _gpu_has_bf16()
        elif others := (chosen | launched) - {self.precision}:
            raise ValueError(
                f"expected one precision, got precision: {self.precision} and {' and '.join(sorted(others))}; leave one out "
                "(of the recipe, or of the settings of accelerate launch)"
            )
        elif self.precision != "float32":
            setattr(self, self.precision, True)


def _gpu_has_bf16() -> bool:
    """Whether there is a CUDA GPU that computes in bf16 itself (Ampere, 2020, and later)."""
    if not is_torch_cuda_available() or not is_torch_bf16_gpu_available():
        return False
    return torch.cuda.get_device_capability()[0] >= 8 or torch.version.hip is not None


def _check_loggers(report_to: object) -> None:
    """Says at once that TensorBoard is not there, and not when the trainer is made."""
    names = report_to if isinstance(report_to, list) else [report_to]
    if "tensorboard" in names and not (find_spec("tensorboard") or find_spec("tensorboardX")):
        raise ValueError(
            "expected the package tensorboard for report_to: tensorboard, got none installed; "
            "pip install 'hf_blink[tensorboard]', or leave report_to out"
        )
