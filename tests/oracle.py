"""What the original BLINK and ELQ computed: inputs, every intermediate number, and checkpoints in their own formats.

The files are not part of this project. They are read from the folder of the path in `HF_BLINK_ORACLE`, or from
`../shared/oracle/oracle.json` beside the checkout; where there is none, the tests that need them say so, and
tests/test_blink_golden.py and tests/test_elq_golden.py guard the same paths with numbers of our own.
"""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from hf_blink.modeling.linking_types import MentionContext

ORACLE = Path(os.environ.get("HF_BLINK_ORACLE", Path(__file__).parents[2] / "shared/oracle/oracle.json"))
CHECKPOINTS = ORACLE.parent / "checkpoints"
# The numbers have six significant digits. Scores are sums that nearly cancel, so the absolute part is of their size.
TOLERANCE: dict[str, Any] = {"rtol": 1e-4, "atol": 2e-5}


@pytest.fixture(scope="session")
def oracle() -> dict[str, Any]:
    if not ORACLE.is_file() or not CHECKPOINTS.is_dir():
        pytest.skip(
            f"no numbers and checkpoints of the original programs at {ORACLE}; name the file in HF_BLINK_ORACLE"
        )
    return json.loads(ORACLE.read_text(encoding="utf-8"))


def contexts(oracle: dict[str, Any]) -> list[MentionContext]:
    """The mentions as BLINK's pipeline passes them on: lower-cased."""
    keys = ("context_left", "mention", "context_right")
    return [MentionContext(*(mention[key].lower() for key in keys)) for mention in oracle["mentions"]]


def texts(oracle: dict[str, Any]) -> tuple[list[str], list[str]]:
    """Titles and descriptions of the entities."""
    entities = oracle["entities"]
    return [entity["title"] for entity in entities], [entity["text"] for entity in entities]


def gold(oracle: dict[str, Any]) -> list[int]:
    """Entity row of each mention."""
    return [mention["label_id"] for mention in oracle["mentions"]]


def changed_settings(file: Path, folder: Path, **changes: Any) -> Path:
    """A copy of a settings file with other values."""
    target = folder / f"{'-'.join(map(str, changes.values()))}-{file.name}"
    target.write_text(json.dumps(json.loads(file.read_text()) | changes))
    return target
