"""Enough entities and mentions that two processes get uneven shares, and what they mine; run as a module, by each process.

python -m tests.mining_example FOLDER      FOLDER/model holds a bi-encoder with its processor
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import PartialState
from datasets import Dataset

from hf_blink.modeling.knowledge_base import KnowledgeBase
from hf_blink.modeling.modeling_blink_biencoder import BlinkBiEncoder
from hf_blink.modeling.processing_blink import BlinkProcessor
from hf_blink.training.hard_negatives import HardNegativeMiner, mine_candidates
from hf_blink.training.mining_settings import MiningSettings
from hf_blink.training.process_shares import failing_together, leave_processes, process_place
from hf_blink.training.shared_linker import shared_linker

NUM_ENTITIES, NUM_MENTIONS = 4500, 1100  # three blocks each, the last one shorter
SETTINGS = MiningSettings(num_negatives=6, range_min=1, range_max=20, absolute_margin=0.001, random_share=0.5)


def example_entities(count: int = NUM_ENTITIES) -> list[dict[str, str]]:
    """Entities of three worlds, whose texts differ in a few letters."""
    draw = np.random.default_rng(0)
    words = ["".join(draw.choice(list("abcdefgh"), 4)) for _ in range(count)]
    return [
        {"id": f"e{i}", "title": word, "description": f"the {words[i // 2]} of paris", "world": f"w{i % 3}"}
        for i, word in enumerate(words)
    ]


def example_mentions(entities: list[dict[str, str]], count: int = NUM_MENTIONS) -> Dataset:
    """A mention of every third entity, some of them without a world."""
    rows = [
        {
            "id": f"m{i}",
            "context_left": "in the town of",
            "mention": entity["title"],
            "context_right": entity["description"],
            "label_ids": [entity["id"]],
            "world": entity["world"] if i % 4 else None,
        }
        for i, entity in enumerate(entities[: 3 * count : 3])
    ]
    return Dataset.from_list(rows)


def mined(model: Any, processor: Any, knowledge_base: KnowledgeBase, mentions: Dataset) -> dict[str, Any]:
    """What both kinds of mining give."""
    rows = HardNegativeMiner(processor, knowledge_base, SETTINGS, progress=False).mine(
        model, mentions, number=2
    )
    linker = shared_linker(knowledge_base, model, processor, progress=False)
    candidates = mine_candidates(linker, mentions, num_candidates=4, progress=False)
    columns = ("candidate_ids", "candidate_scores", "gold_retrieved")
    return {"rows": rows.tolist(), **{name: candidates[name][:] for name in columns}}


def refusal(work: Any, *arguments: Any) -> str:
    try:
        work(*arguments)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "none"


def stop_in(process: int) -> None:
    with failing_together("counting"):
        if process_place()[0] == process:
            raise MemoryError("no room")


def main(folder: Path) -> None:
    """Writes what this process got to `<number>.json`."""
    PartialState(cpu=True)
    index, count = process_place()
    model = BlinkBiEncoder.from_pretrained(folder / "model")
    processor = BlinkProcessor.from_pretrained(folder / "model")
    entities = example_entities()
    knowledge_base, mentions = KnowledgeBase.from_entities(entities), example_mentions(entities)
    found = mined(model, processor, knowledge_base, mentions)
    shorter = mentions.select(range(NUM_MENTIONS - index))
    renamed = mentions.map(lambda row: {"mention": f"{row['mention']}{index}"})
    other = KnowledgeBase.from_entities([{**entity, "title": f"x{index}"} for entity in entities[:9]])
    few = mentions.select(range(3))
    found["refused"] = [
        refusal(mined, model, processor, knowledge_base, shorter),
        refusal(mined, model, processor, knowledge_base, renamed),
        refusal(mined, model, processor, other, few),
        refusal(stop_in, 1),
    ]
    (folder / f"{index}.json").write_text(json.dumps({"num_processes": count, **found}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
    leave_processes()
