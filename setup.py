"""Which folder is which package. Metadata and tool settings are in pyproject.toml.

The packages are named one by one: searching for them would find the folders behind the links of a checkout
(`hf_blink/modeling -> ../modeling`, ...) a second time.
"""

from setuptools import setup

FOLDER_OF_PACKAGE = {
    "hf_blink": "hf_blink",
    "hf_blink.modeling": "modeling",
    "hf_blink.training": "training",
    "hf_blink.hub_cards": "hub_cards",
}
FILES_OF_PACKAGE = {
    "hf_blink": ["py.typed", "data/*.jsonl", "data/*.jsonl.gz", "data/*.md", "data/*.txt"],
    "hf_blink.training": ["recipes/*.yaml", "recipes/accelerate/*.yaml"],
    "hf_blink.hub_cards": ["templates/*.md", "space/*"],
}

setup(
    packages=list(FOLDER_OF_PACKAGE),
    package_dir=FOLDER_OF_PACKAGE,
    package_data=FILES_OF_PACKAGE,
    include_package_data=False,
)
