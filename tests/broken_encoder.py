"""An encoder that cannot be loaded."""

import json
import shutil
from pathlib import Path


def encoder_without_type(encoder: str, folder: Path) -> str:
    """A copy of an encoder whose config.json lacks its `model_type`, as the first BERTs' did."""
    shutil.copytree(encoder, folder)
    file = folder / "config.json"
    config = json.loads(file.read_text())
    del config["model_type"]
    file.write_text(json.dumps(config))
    return str(folder)
