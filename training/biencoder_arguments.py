"""The recipe's keys of the bi-encoder script: the model to start from, and its rounds."""

from dataclasses import dataclass, field

from hf_blink.modeling.configuration_blink import saved_model_type
from hf_blink.modeling.modeling_blink_biencoder import BlinkBiEncoder
from hf_blink.modeling.processing_blink import BlinkProcessor
from hf_blink.training.recipe_arguments import given_settings, refuse_other_settings

_OF_THE_MODEL = ("share_towers", "mention_pooling", "entity_pooling", "similarity", "temperature")
_OF_THE_PROCESSOR = ("mention_length", "entity_length")


@dataclass
class BiEncoderArguments:
    """The model and its rounds.

    Args:
        base_model: encoder to start from, or a saved bi-encoder to train on.
        share_towers: one tower for mentions and entities, or two. This and the next six: None means the saved model's
            own, or for a new one true, mention_span, mean, cosine, 0.05, 128 and 128; a saved model has no other.
        mention_pooling: cls, mean or mention_span.
        entity_pooling: cls or mean.
        similarity: cosine or dot.
        temperature: scores are similarities divided by it.
        mention_length: tokens of a mention window.
        entity_length: tokens of an entity text.
        name_negatives: entities with names like the gold entity's that join the batch for each mention in the in-batch
            round; 0 is BLINK's.
        hard_negative_rounds: rounds of mining and training after the in-batch round.
        hard_negative_share: length of each such round as a share of the in-batch round's steps.
        resume: go on with an interrupted run in the same output folder.

    Raises:
        ValueError: a number of rounds or a length that makes no sense.
    """

    base_model: str = field(metadata={"help": "Encoder to start from, or a saved bi-encoder."})
    share_towers: bool | None = field(
        default=None, metadata={"help": "One tower for mentions and entities; of a new model (true)."}
    )
    mention_pooling: str | None = field(
        default=None, metadata={"help": "cls, mean or mention_span; of a new model (mention_span)."}
    )
    entity_pooling: str | None = field(default=None, metadata={"help": "cls or mean; of a new model (mean)."})
    similarity: str | None = field(default=None, metadata={"help": "cosine or dot; of a new model (cosine)."})
    temperature: float | None = field(
        default=None, metadata={"help": "Scores are similarities divided by it; of a new model (0.05)."}
    )
    mention_length: int | None = field(
        default=None, metadata={"help": "Tokens of a mention window; of a new model (128)."}
    )
    entity_length: int | None = field(
        default=None, metadata={"help": "Tokens of an entity text; of a new model (128)."}
    )
    name_negatives: int = field(
        default=2, metadata={"help": "Entities of similar names a mention in the in-batch round."}
    )
    hard_negative_rounds: int = field(default=1, metadata={"help": "Rounds of mining and training."})
    hard_negative_share: float = field(
        default=0.5, metadata={"help": "Length of such a round, of the first one's."}
    )
    resume: bool = field(
        default=False, metadata={"help": "Go on with an interrupted run in the output folder."}
    )

    def __post_init__(self) -> None:
        if self.name_negatives < 0:
            raise ValueError(f"expected name_negatives of at least 0, got {self.name_negatives}")
        if self.hard_negative_rounds < 0 or self.hard_negative_share <= 0:
            raise ValueError(
                "expected hard_negative_rounds >= 0 and hard_negative_share > 0, got "
                f"{self.hard_negative_rounds} and {self.hard_negative_share}"
            )

    def load(self) -> tuple[BlinkBiEncoder, BlinkProcessor]:
        """The model and processor to start from.

        Raises:
            ValueError: a setting of new models differs from the saved one's.
        """
        settings, lengths = given_settings(self, _OF_THE_MODEL), given_settings(self, _OF_THE_PROCESSOR)
        if saved_model_type(self.base_model) == "blink-biencoder":
            model = BlinkBiEncoder.from_pretrained(self.base_model)
            processor = BlinkProcessor.from_pretrained(self.base_model)
            refuse_other_settings(settings, model.config, self.base_model)
            refuse_other_settings(lengths, processor, self.base_model)
            return model, processor
        processor = BlinkProcessor.from_base(self.base_model, **lengths)
        vocab_size = len(processor.tokenizer)
        return BlinkBiEncoder.from_encoder(self.base_model, vocab_size=vocab_size, **settings), processor
