"""Training arguments: transformers' own, with the few that entity linking adds and defaults that suit it."""

from dataclasses import dataclass, field

from transformers import TrainingArguments


@dataclass
class BlinkTrainingArguments(TrainingArguments):
    """[`~transformers.TrainingArguments`] for the trainers of this package.

    Args:
        num_hard_negatives: mined hard negatives that join the batch's entities for each mention
            (`HardNegativeTrainer`); they are negatives for the other mentions too.
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
    num_hard_negatives: int = field(
        default=4, metadata={"help": "Mined hard negatives a mention (HardNegativeTrainer)."}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.num_hard_negatives < 0:
            raise ValueError(f"expected num_hard_negatives of at least 0, got {self.num_hard_negatives}")
        if self.remove_unused_columns:
            raise ValueError(
                "expected remove_unused_columns=False, got True; the collators read the dataset's columns"
            )
