"""A corpus in Zeshel's published form, made here: 16 worlds in three splits, words as in its tokenised documents."""

import json
from pathlib import Path

import numpy as np

SPLITS = {
    "train": [
        "american_football", "doctor_who", "fallout", "final_fantasy", "military", "pro_wrestling", "starwars",
        "world_of_warcraft",
    ],
    "val": ["coronation_street", "elder_scrolls", "ice_hockey", "muppets"],
    "test": ["forgotten_realms", "lego", "star_trek", "yugioh"],
}  # fmt: skip
ENTITIES, MENTIONS = 5, 3  # of a world
_WORDS = ("the", "cat", "of", "the", "town", "in", "texas", "is", "a", "maker", "of", "shoes")


def write_corpus(folder: Path) -> None:
    """Writes `documents/<world>.json` and `mentions/<split>.json`; a mention names an entity by its description's words."""
    draw = np.random.default_rng(0)
    for name in ("documents", "mentions"):
        (folder / name).mkdir(parents=True)
    for split, worlds in SPLITS.items():
        mentions = [line for world in worlds for line in _world(folder / "documents", world, draw)]
        _write(folder / "mentions" / f"{split}.json", mentions)


def _world(folder: Path, world: str, draw: np.random.Generator) -> list[dict]:
    """Writes a world's documents; gives its mentions."""
    letters = list("abcdefgh")
    names = [" ".join("".join(draw.choice(letters, 4)) for _ in range(2)) for _ in range(ENTITIES)]
    documents, mentions = [], []
    for number, name in enumerate(names):
        words = [*name.split(), *draw.choice(_WORDS, 6).tolist()]
        if number < MENTIONS:
            start, gold = len(words) + 2, (number + 1) % ENTITIES
            words += ["in", "the", *names[gold].split(), "of", "paris", "."]
            mentions.append({
                "mention_id": f"{world}-m{number}", "corpus": world, "context_document_id": f"{world}-{number}",
                "label_document_id": f"{world}-{gold}", "text": names[gold], "start_index": start, "end_index": start + 1,
                "category": "HIGH_OVERLAP",
            })  # fmt: skip
        documents.append({"document_id": f"{world}-{number}", "title": name, "text": " ".join(words)})
    _write(folder / f"{world}.json", documents)
    return mentions


def _write(file: Path, records: list[dict]) -> None:
    file.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
