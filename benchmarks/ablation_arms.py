"""The arms of benchmarks/ablation.py: each is the one before it, or the one that it names, with one thing changed.

What an arm starts from stands in the recipes: everything is as in `blink_2020.yaml` at first, and an arm's `switched` keys
take their values from `biencoder.yaml`.
"""

from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

import yaml

IN_BATCH = (("in_batch", 1.0),)
MODEL_KEYS = ("share_towers", "mention_pooling", "entity_pooling", "similarity", "temperature")
TRAINING_KEYS = ("blink_optimizer", "fixed_length", "unique_entities", "same_world_batches", "learning_rate")
NAMES = "name_negatives"
# What is not in biencoder.yaml has there the default of BlinkTrainingArguments.
HOUSE_DEFAULTS = {
    "blink_optimizer": False, "fixed_length": False, "unique_entities": True, "same_world_batches": True,
}  # fmt: skip


@dataclass(frozen=True)
class Arm:
    """One way to train.

    Args:
        key: in ablation.json and on the command line.
        name: in the table.
        switched: keys that have our recipe's value; the others have BLINK's.
        phases: kind of training and its share of the budget: in_batch (with entities of similar names among the negatives,
            where the arm has `name_negatives`), hard (hard negatives, mined by the model as it is then) or distillation
            (candidates mined likewise, with the teacher's scores).
        before: key of the arm that it is compared with; empty for none.
        batch_size: mentions a step; more than 32 go through the model in chunks of 32.
        two_stages: measure it with a cross-encoder, too.
        silver: trained without the set's labels, on mentions made from the whole catalogue and training texts, as
            `hf-blink build --adapt` does.
    """

    key: str
    name: str
    switched: tuple[str, ...] = ()
    phases: tuple[tuple[str, float], ...] = IN_BATCH
    before: str = ""
    batch_size: int = 32
    two_stages: bool = False
    silver: bool = False
    values: dict[str, Any] = field(init=False, compare=False)

    def __post_init__(self) -> None:
        blink, house = (_recipe(name) for name in ("blink_2020", "biencoder"))
        values = {
            key: (HOUSE_DEFAULTS | house if key in self.switched else blink)[key]
            for key in (*MODEL_KEYS, *TRAINING_KEYS, NAMES)
        }
        object.__setattr__(self, "values", values)

    def definition(self) -> dict[str, Any]:
        """What its result depends on, as JSON has it."""
        return {
            "values": self.values,
            "phases": [list(phase) for phase in self.phases],
            "batch_size": self.batch_size,
            "two_stages": self.two_stages,
            "silver": self.silver,
        }

    def part(self, keys: tuple[str, ...]) -> dict[str, Any]:
        """The values of some keys."""
        return {key: self.values[key] for key in keys}


def _recipe(name: str) -> dict[str, Any]:
    text = (files("hf_blink.training") / "recipes" / f"{name}.yaml").read_text(encoding="utf-8")
    recipe: dict[str, Any] = yaml.safe_load(text)
    return recipe


MASK = ("unique_entities",)
WORLDS = (*MASK, "same_world_batches")
POOLING = (*WORLDS, "mention_pooling", "entity_pooling")
COSINE = (*POOLING, "similarity", "temperature")
OPTIMIZER = (*COSINE, "blink_optimizer", "fixed_length", "learning_rate")
OURS = (*OPTIMIZER, "share_towers")
NAMED = (*OURS, NAMES)
HARD_ONCE = (("in_batch", 0.5), ("hard", 0.5))
MINED_AGAIN = (("in_batch", 0.4), ("hard", 0.3), ("hard", 0.3))
FULL = (("in_batch", 0.4), ("hard", 0.3), ("distillation", 0.3))
ARMS = (
    Arm("blink_2020", "BLINK's recipe", two_stages=True),
    Arm("duplicate_mask", "+ duplicate mask", MASK, before="blink_2020"),
    Arm("world_batches", "+ world batches", WORLDS, before="duplicate_mask"),
    Arm("span_pooling", "+ span pooling", POOLING, before="world_batches"),
    Arm("cosine", "+ cosine, temperature", COSINE, before="span_pooling"),
    Arm("optimizer", "+ our optimizer and rate", OPTIMIZER, before="cosine"),
    Arm("one_tower", "+ one tower", OURS, before="optimizer"),
    Arm("name_negatives", "+ negatives by name", NAMED, before="one_tower"),
    Arm("hard_negatives", "+ hard negatives, mined once", NAMED, HARD_ONCE, before="name_negatives"),
    Arm("mined_again", "+ mined again", NAMED, MINED_AGAIN, before="hard_negatives"),
    Arm("full", "full: + distillation", NAMED, FULL, before="mined_again", two_stages=True),
    Arm("batch_256", "in-batch, batches of 256", OURS, before="one_tower", batch_size=256),
    Arm("no_labels", "no labels: silver mentions", NAMED, before="name_negatives", silver=True),
)
