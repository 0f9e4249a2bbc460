"""The files of a Space that shows one linker: the app, its card and requirements, and the page of the demo.

The Space installs no hf_blink: the linker's code travels with its repository, and the demo's files lie in a folder
`hf_blink/` beside the app, so that they import each other as they do here.
"""

from importlib.resources import files

PAGE_FILES = ("demo_app.py", "link_markup.py", "link_page.py", "link_style.py")
TEMPLATES = ("README.md", "app.py", "requirements.txt")


def space_files(model_repo: str) -> dict[str, bytes]:
    """Fills in the files for one model.

    Args:
        model_repo: repository of the linker on the Hub, such as "org/name".

    Returns:
        The content of each file by its path in the Space.

    Raises:
        ValueError: `model_repo` is no name of a repository.
    """
    from huggingface_hub.utils import validate_repo_id

    if "/" not in model_repo:
        raise ValueError(
            f"expected the linker's repository as 'org/name', got {model_repo!r}; push the linker first"
        )
    validate_repo_id(model_repo)
    filled = {name: _template(name, model_repo) for name in TEMPLATES}
    page = {f"hf_blink/{name}": files("hf_blink").joinpath(name).read_bytes() for name in PAGE_FILES}
    return {**filled, **page}


def _template(name: str, model_repo: str) -> bytes:
    """A file of `hub_cards/space`; a repository's name needs no escape in Python, YAML and Markdown."""
    text = files("hf_blink.hub_cards").joinpath("space", name).read_text("utf-8")
    short_name = model_repo.rpartition("/")[2]
    return text.replace("{{ model }}", model_repo).replace("{{ name }}", short_name).encode("utf-8")
