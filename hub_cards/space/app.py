"""The page of this Space: type a text, see which entities the model links it to.

The linker's own code comes with its repository; `hf_blink/` here holds the page alone.
"""

import os

from transformers import pipeline

from hf_blink.demo_app import create_demo, launch_options

MODEL = os.environ.get("HF_BLINK_MODEL", "{{ model }}")  # repository of the linker, or a folder
EXAMPLES: list[str] = []  # texts to choose from

linker = pipeline("entity-linking", model=MODEL, trust_remote_code=True).linker
demo = create_demo(linker, title=f"Entity linking with {MODEL}", examples=EXAMPLES)

if __name__ == "__main__":
    demo.launch(**launch_options())
