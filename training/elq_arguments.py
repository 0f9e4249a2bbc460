"""The model and the stages of a one-pass linker's training, as a recipe of `train_elq` gives them."""

from dataclasses import dataclass, field
from dataclasses import replace as replace_fields
from pathlib import Path
from typing import Any

from hf_blink.modeling.configuration_blink import saved_model_type
from hf_blink.modeling.modeling_blink_biencoder import BlinkBiEncoder
from hf_blink.modeling.modeling_elq import ElqModel
from hf_blink.modeling.processing_elq import ElqProcessor
from hf_blink.training.arguments import BlinkTrainingArguments
from hf_blink.training.recipe_arguments import given_settings, refuse_other_settings

_OF_THE_MODEL = (
    *("share_towers", "mention_pooling", "entity_pooling", "similarity", "temperature"),
    *("span_head", "max_mention_tokens"),
)
_OF_THE_PROCESSOR = ("mention_length", "entity_length")


@dataclass
class ElqArguments:
    """The model and its stages.

    Args:
        base_model: encoder to start from, or a saved bi-encoder, whose towers it takes, or a saved ELQ model to train on.
        share_towers: one tower for texts and entities, or two. This and the next eight: None means the saved model's own,
            or for a new one false, all_avg, mean, cosine, 0.05, linear, 11, 128 and 128.
        mention_pooling: all_avg or first_last.
        entity_pooling: cls or mean.
        similarity: cosine or dot.
        temperature: scores are similarities divided by it.
        span_head: linear or mlp.
        max_mention_tokens: tokens of the longest mention.
        mention_length: tokens of a text window.
        entity_length: tokens of an entity text.
        hard_negative_share: length of the stage with hard negatives as a share of the first one's steps; 0 leaves it out.
        match: weak or strong, whose F1 the threshold is fitted for.
        resume: go on with an interrupted run in the same output folder.

    Raises:
        ValueError: a length of the second stage that makes no sense, or shared towers with it.
    """

    base_model: str = field(metadata={"help": "Encoder to start from, a saved bi-encoder or ELQ model."})
    share_towers: bool | None = field(
        default=None, metadata={"help": "One tower or two; of a new model (false)."}
    )
    mention_pooling: str | None = field(
        default=None, metadata={"help": "all_avg or first_last; of a new model (all_avg)."}
    )
    entity_pooling: str | None = field(default=None, metadata={"help": "cls or mean; of a new model (mean)."})
    similarity: str | None = field(default=None, metadata={"help": "cosine or dot; of a new model (cosine)."})
    temperature: float | None = field(
        default=None, metadata={"help": "Scores are similarities divided by it; of a new model (0.05)."}
    )
    span_head: str | None = field(default=None, metadata={"help": "linear or mlp; of a new model (linear)."})
    max_mention_tokens: int | None = field(
        default=None, metadata={"help": "Tokens of the longest mention; of a new model (11)."}
    )
    mention_length: int | None = field(
        default=None, metadata={"help": "Tokens of a text window; of a new model (128)."}
    )
    entity_length: int | None = field(
        default=None, metadata={"help": "Tokens of an entity text; of a new model (128)."}
    )
    hard_negative_share: float = field(
        default=0.5,
        metadata={"help": "Length of the stage with hard negatives, of the first one's; 0 for none."},
    )
    match: str = field(
        default="weak", metadata={"help": "Whose F1 the threshold is for.", "choices": ["weak", "strong"]}
    )
    resume: bool = field(
        default=False, metadata={"help": "Go on with an interrupted run in the output folder."}
    )

    def __post_init__(self) -> None:
        if self.hard_negative_share < 0:
            raise ValueError(f"expected hard_negative_share of at least 0, got {self.hard_negative_share}")
        if self.share_towers and self.hard_negative_share:
            raise ValueError(
                "expected share_towers: false where the entity tower is frozen for hard negatives, got true; set "
                "hard_negative_share: 0 to train in-batch alone"
            )

    @property
    def num_stages(self) -> int:
        """1 without hard negatives, else 2."""
        return 2 if self.hard_negative_share else 1

    def stage_arguments(self, number: int, training: BlinkTrainingArguments) -> BlinkTrainingArguments:
        """The arguments of a stage: a share of the whole training long, in a folder of its own.

        Args:
            number: 0 in-batch, 1 with hard negatives.
            training: of the whole training.
        """
        share = self.hard_negative_share if number else 1.0
        steps = training.max_steps
        return replace_fields(
            training,
            output_dir=str(Path(str(training.output_dir)) / stage_folder(number)),
            num_train_epochs=training.num_train_epochs * share,
            max_steps=max(1, round(steps * share)) if steps > 0 else steps,
        )

    def load(self) -> tuple[ElqModel, ElqProcessor]:
        """The model and processor to start from.

        Raises:
            ValueError: a setting of new models differs from the saved one's.
        """
        settings, lengths = given_settings(self, _OF_THE_MODEL), given_settings(self, _OF_THE_PROCESSOR)
        kind = saved_model_type(self.base_model)
        if kind == "elq":
            model = ElqModel.from_pretrained(self.base_model)
            saved: ElqProcessor = ElqProcessor.from_pretrained(self.base_model)
            refuse_other_settings(settings, model.config, self.base_model)
            refuse_other_settings(lengths, saved, self.base_model)
            if model.config.share_towers and self.hard_negative_share:
                raise ValueError(
                    f"expected two towers where the entities' is frozen for hard negatives, got one in {self.base_model}; set "
                    "hard_negative_share: 0 to train in-batch alone"
                )
            return model, saved
        if kind == "blink-biencoder":
            return self._from_bi_encoder(settings, lengths)
        processor = ElqProcessor.from_base(self.base_model, **lengths)
        vocab_size = len(processor.tokenizer)
        return ElqModel.from_encoder(self.base_model, vocab_size=vocab_size, **settings), processor

    def _from_bi_encoder(
        self, settings: dict[str, Any], lengths: dict[str, Any]
    ) -> tuple[ElqModel, ElqProcessor]:
        bi_encoder = BlinkBiEncoder.from_pretrained(self.base_model)
        model = ElqModel.from_bi_encoder(bi_encoder, **settings)
        processor = ElqProcessor.from_pretrained(self.base_model)
        for name, value in lengths.items():
            setattr(processor, name, value)
        return model, processor


def stage_folder(number: int) -> str:
    """The folder of a stage below the output folder."""
    return f"round_{number}"


def stage_name(number: int) -> str:
    """What a stage is called, with its folder."""
    return f"{('in-batch', 'hard-negative')[number]} stage ({stage_folder(number)})"
