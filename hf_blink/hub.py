"""Pushes with a card: what `hf-blink push` does, and what `push_to_hub` of a linker or a part adds by itself.

`push` takes a saved folder or an object, renders its card from what is known (card_facts.py) and from the author's notes,
and uploads everything as one commit. Where a repository has no card yet, plain `push_to_hub` adds one as well: the
post-import hook of `hf_blink` puts `default_files` on the list that modeling/hub_transfer.py asks.
"""

import json
from collections.abc import Callable, Mapping
from functools import partial
from importlib.resources import files as package_files
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hf_blink.card_facts import CardNotes, card_of, check_kind, check_notes
from hf_blink.hub_cards.rendering import card_files

REQUIREMENTS = "requirements.txt"
_ENCODERS = {
    "blink-biencoder": ("BlinkBiEncoder", "BlinkProcessor"),
    "blink-crossencoder": ("BlinkCrossEncoder", "BlinkProcessor"),
    "elq": ("ElqModel", "ElqProcessor"),
}  # model type: names of the classes of model and processor


def push(source: Any, repo_id: str, notes: CardNotes | None = None, **target: Any) -> Any:
    """Uploads a linker, an encoder, an index or a knowledge base with its card, as one commit.

    Args:
        source: the object, or the folder that it was saved in.
        repo_id: `user/name`; made if missing.
        notes: what the card says besides what the object itself tells.
        **target: `private`, `revision`, `commit_message`, `create_pr`, `token`; of a linker also `index_repo_id` and
            `knowledge_base_repo_id`.

    Returns:
        huggingface_hub's `CommitInfo`.

    Raises:
        FileNotFoundError: nothing to push in the folder.
        PermissionError, ConnectionError: the push failed; the repository is as it was.
        ValueError: a fact of the card cannot be right; names it.
        TypeError: an object of another kind.
    """
    from hf_blink.modeling.hub_transfer import HubTarget, check_login

    said = notes or CardNotes()
    load = _loader(source)
    check_notes(said, repo_id)
    check_login(HubTarget(repo_id, token=target.get("token")))
    part, options = load()

    def card(folder: Path) -> Mapping[str, str]:
        return card_files(card_of(part, folder, repo_id, said))

    return part.push_to_hub(repo_id, files=card, **options, **target)


def push_space(
    model_repo: str,
    space_repo: str,
    *,
    private: bool | None = None,
    overwrite: bool = False,
    token: str | None = None,
) -> Any:
    """Uploads the demo of a linker as a Space, as one commit.

    Args:
        model_repo: the linker's repository, `user/name`.
        space_repo: the Space's; made if missing.
        private: whether a Space that has to be made is private.
        overwrite: also replace an app.py and a README.md that are there, which its owner may have changed.
        token: access token; None takes the one of `hf auth login`.
    """
    from huggingface_hub import HfApi

    from hf_blink.modeling.hub_transfer import HubTarget, push_folder
    from hf_blink.space import space_files

    files = space_files(model_repo)

    def app(_: Path) -> dict[str, bytes]:  # asked when the Space is there
        present = HfApi(token=token).list_repo_files(space_repo, repo_type="space")
        kept = () if overwrite or "app.py" not in present else ("app.py", "README.md")
        return {name: content for name, content in files.items() if name not in kept}

    with TemporaryDirectory() as empty:
        target = HubTarget(
            space_repo, "space", private, commit_message=f"Demo of {model_repo}", token=token, files=app
        )
        return push_folder(Path(empty), target)


def default_files(part: Any, folder: Path, repo_id: str) -> Mapping[str, str]:
    """What a push adds by itself: a linker's requirements, and the card of what is known.

    An encoder alone has none: how it reads is in its processor, how it was trained only its author knows (`push`).
    """
    if type(part).__name__ in ("BlinkBiEncoder", "BlinkCrossEncoder", "ElqModel"):
        return {}
    return {**card_files(card_of(part, folder, repo_id, CardNotes())), **_requirements(part)}


def _requirements(part: Any) -> dict[str, str]:
    if type(part).__name__ != "EntityLinker":
        return {}
    text = package_files("hf_blink.hub_cards").joinpath("space", REQUIREMENTS).read_text("utf-8")
    return {REQUIREMENTS: text}  # an endpoint needs what the Space needs: the packages of the travelling code


def _loader(source: Any) -> Callable[[], tuple[Any, dict[str, Any]]]:
    """Loads the object of a folder, with what goes beside it; an object is its own."""
    if not isinstance(source, (str, Path)):
        check_kind(source)
        return lambda: (source, {})
    import hf_blink

    folder = Path(source)
    if (folder / "linker.json").is_file():
        return lambda: (hf_blink.EntityLinker.from_pretrained(folder), {})
    if (folder / "index.json").is_file():
        return lambda: (hf_blink.EntityIndex.from_pretrained(folder), {})
    if any(folder.glob("entities-*.parquet")):
        return lambda: (hf_blink.KnowledgeBase.from_pretrained(folder), {})
    if (folder / "config.json").is_file():
        model_type = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("model_type")
        if model_type in _ENCODERS:
            return partial(_loaded_encoder, folder, *_ENCODERS[model_type])
    raise FileNotFoundError(
        f"expected a saved linker, encoder, index or knowledge base in {folder}, got none of them; "
        "save one, or name its folder"
    )


def _loaded_encoder(folder: Path, model: str, processor: str) -> tuple[Any, dict[str, Any]]:
    import hf_blink

    loaded = getattr(hf_blink, processor).from_pretrained(folder)
    return getattr(hf_blink, model).from_pretrained(folder), {"processor": loaded}
