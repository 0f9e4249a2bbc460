"""Pushes with a card: what `hf-blink push` does, and what `push_to_hub` of a linker or a part adds by itself.

`push` takes a saved folder or an object, renders its card from what is known (card_facts.py) and from the author's notes,
and uploads everything as one commit. Where a repository has no card yet, plain `push_to_hub` adds one as well: the
post-import hook of `hf_blink` puts `default_files` on the list that modeling/hub_transfer.py asks.
"""

import json
from collections.abc import Mapping
from importlib.resources import files as package_files
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hf_blink.card_facts import CardNotes, card_of, check_kind
from hf_blink.hub_cards.rendering import card_files

REQUIREMENTS = "requirements.txt"


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
    part, options = _opened(source)

    def card(folder: Path) -> Mapping[str, str]:
        return card_files(card_of(part, folder, repo_id, notes or CardNotes()))

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


def _opened(source: Any) -> tuple[Any, dict[str, Any]]:
    """The object of a folder, with what goes beside it; an object is its own."""
    if not isinstance(source, (str, Path)):
        check_kind(source)
        return source, {}
    import hf_blink

    folder = Path(source)
    if (folder / "linker.json").is_file():
        return hf_blink.EntityLinker.from_pretrained(folder), {}
    if (folder / "index.json").is_file():
        return hf_blink.EntityIndex.from_pretrained(folder), {}
    if any(folder.glob("entities-*.parquet")):
        return hf_blink.KnowledgeBase.from_pretrained(folder), {}
    if (folder / "config.json").is_file():
        model_type = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("model_type")
        encoders: dict[str, Any] = {
            "blink-biencoder": hf_blink.BlinkBiEncoder,
            "blink-crossencoder": hf_blink.BlinkCrossEncoder,
            "elq": hf_blink.ElqModel,
        }
        if model_type in encoders:
            kind: Any = hf_blink.ElqProcessor if model_type == "elq" else hf_blink.BlinkProcessor
            processor = kind.from_pretrained(folder)
            return encoders[model_type].from_pretrained(folder), {"processor": processor}
    raise FileNotFoundError(
        f"expected a saved linker, encoder, index or knowledge base in {folder}, got none of them; "
        "save one, or name its folder"
    )
