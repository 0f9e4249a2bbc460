"""Folders from the Hub and to the Hub: one snapshot at one commit down, one commit with everything up."""

import fnmatch
import os
import warnings
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import Any

from huggingface_hub import CommitInfo, CommitOperationAdd, CommitOperationDelete, HfApi, snapshot_download
from huggingface_hub.errors import (
    HFValidationError,
    LocalTokenNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from .full_disk import naming_the_disk

_CARD = "README.md"
_CARD_FILES = (_CARD, "loss_curve_*", ".eval_results/*")
HUB_OPTIONS = ("revision", "token", "cache_dir", "local_files_only")
# Files that others add to a push: functions of (the pushed object, its finished folder, the repository's name) that give
# {name in the repository: content}. hf_blink adds the card here; where the code came from the Hub alone, it is empty.
EXTRA_FILES: list[Callable[[Any, Path, str], Mapping[str, str]]] = []


Files = Mapping[str, str | bytes]


@dataclass(frozen=True)
class HubTarget:
    """Where a push goes.

    Attributes:
        repo_id: `user/name`; made if missing.
        repo_type: `model`, `dataset` or `space`.
        private: whether a repository that has to be made is private; None takes the account's default.
        revision: branch; made if missing. None is the main branch.
        commit_message: its first line is the commit's title.
        create_pr: open a pull request instead of committing to the branch.
        token: access token; None takes the one of `hf auth login`.
        files: further files, such as a card: {name in the repository: text or bytes}, or a function of the finished
            folder that gives them. Without a README.md among them, a repository that has none gets a card of what is
            known.
    """

    repo_id: str
    repo_type: str = "model"
    private: bool | None = None
    revision: str | None = None
    commit_message: str = "Upload with hf_blink"
    create_pr: bool = False
    token: str | None = field(default=None, repr=False)
    files: Files | Callable[[Path], Files] = field(default_factory=dict)


class HubOptions(dict[str, Any]):
    """Where something was loaded from (revision, token, ...); the token is neither shown nor pickled."""

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> "HubOptions":
        """Those of the arguments of a `from_pretrained` that are about the Hub."""
        return cls({name: options[name] for name in HUB_OPTIONS if options.get(name) is not None})

    def __repr__(self) -> str:
        return f"HubOptions({ {name: value for name, value in self.items() if name != 'token'} })"

    def __reduce__(self) -> Any:
        return HubOptions, ({name: value for name, value in self.items() if name != "token"},)


def local_folder(path: str | os.PathLike[str], what: str, patterns: Collection[str], **options: Any) -> Path:
    """A folder as it is, or the snapshot of a repository at one commit.

    Args:
        path: folder or `user/name`.
        what: what is expected there, for the error, such as "a linker".
        patterns: of the files that are needed.
        **options: of `huggingface_hub.snapshot_download`: `repo_type`, `revision`, `token`, `cache_dir`, ...

    Raises:
        FileNotFoundError: neither a folder nor a repository (or revision) that can be read; says why.
        OSError: the cache cannot be written, or its disk is full.
    """
    if Path(path).is_dir():
        return Path(path)
    if Path(path).is_absolute() or str(path).startswith(".") or str(path).count("/") > 1:
        raise FileNotFoundError(f"expected {what} in a folder or a Hub name, got {path}, which is no folder")
    if Path(path).is_file():
        raise FileNotFoundError(f"expected {what} in a folder or a Hub name, got {path}, which is a file")
    return snapshot(str(path), what, patterns, **options)


def snapshot(repo_id: str, what: str, patterns: Collection[str], **options: Any) -> Path:
    """The snapshot of a repository, also where a folder of that name is at hand; the rest as in `local_folder`."""
    try:
        return Path(snapshot_download(repo_id, allow_patterns=list(patterns), **options))
    except Exception as error:
        if _is_of_the_hub(error):
            raise FileNotFoundError(
                f"expected {what}: '{repo_id}' is no folder here ({Path.cwd()}), and the Hub did not give it: "
                f"{_reason(error)}; correct the path, or name a repository as user/name"
            ) from error
        if isinstance(error, OSError):  # a cache that cannot be written, a full disk
            raise OSError(
                f"expected a cache folder with room that can be written, got {error}; pass cache_dir= or set HF_HOME"
            ) from error
        raise


def push_saved(
    part: Any, target: HubTarget, *, older: str = "", add: Callable[[Path], None] | None = None
) -> CommitInfo:
    """Pushes what an object's `save_pretrained` writes.

    Args:
        part: the object.
        target: where to.
        older: pattern of the files that an earlier push may have left and that go if they are not written again.
        add: adds further files to the folder.

    Raises:
        OSError: no room for the files before they go up; nothing was pushed. Other errors as in `push_folder`.
    """
    with TemporaryDirectory(prefix="hf_blink_push_") as folder:
        with room_to_stage():
            part.save_pretrained(folder)
            if add is not None:
                add(Path(folder))
        return push_folder(
            Path(folder), target, stale=lambda present: _at_the_root(present, older), about=part
        )


def room_to_stage() -> AbstractContextManager[None]:
    """Within it, a full temporary folder is said to be one."""
    advice = "free some space there or set TMPDIR to another folder; nothing was pushed"
    return naming_the_disk(gettempdir(), "the files of the push", advice)


def push_folder(
    folder: Path,
    target: HubTarget,
    *,
    stale: Callable[[list[str]], Collection[str]] | None = None,
    about: Any = None,
) -> CommitInfo:
    """Uploads a folder as exactly one commit; until it is made, the repository stays as it was.

    Args:
        folder: all files below it are uploaded.
        target: where to.
        stale: given the names of the files that are there, the ones that an earlier push left and that go.
        about: the object that the folder was saved from, for those who add files to the push.

    Returns:
        What `create_commit` returns: `oid` is the commit.

    Raises:
        PermissionError: the token may not write there.
        FileNotFoundError: the repository is not there and cannot be made.
        ConnectionError: the Hub could not be reached, or failed.
    """
    api = HfApi(token=target.token)
    where: dict[str, Any] = {"repo_type": target.repo_type, "revision": target.revision}
    head: Any = None
    try:
        where["repo_id"] = _made_repository(api, target)
        head = api.repo_info(**where)
        present = [sibling.rfilename for sibling in head.siblings or ()]
        files = _files_of(folder, target, about, has_card=_CARD in present)
        gone = set(stale(present) if stale else ()) & set(present) - set(files)
        operations: list[Any] = [
            *(CommitOperationAdd(name, content) for name, content in sorted(files.items())),
            *(CommitOperationDelete(name) for name in sorted(gone)),
        ]
        with warnings.catch_warnings():  # a knowledge base in a model's repository is meant to be there
            warnings.filterwarnings("ignore", message="It seems that you are about to commit a data file")
            return api.create_commit(
                operations=operations,
                commit_message=target.commit_message,
                create_pr=target.create_pr,
                parent_commit=None if target.create_pr else head.sha,
                **where,
            )
    except Exception as error:
        if not _is_of_the_hub(error):
            raise
        if head is not None and _status(error) is None and _newest(api, where) != head.sha:
            raise ConnectionError(
                f"the connection broke while {target.repo_id} was pushed, and there is a new commit there now, which may be "
                "this push; look before pushing again"
            ) from error
        raise _push_error(error, target) from error


def check_login(target: HubTarget) -> None:
    """Refuses a token that the Hub does not know, before anything is made ready for a push.

    Raises:
        PermissionError: no token, or one that the Hub refuses.
        ConnectionError: the Hub could not be reached.
    """
    try:
        HfApi(token=target.token).whoami()
    except Exception as error:
        if not _is_of_the_hub(error):
            raise
        if _status(error) in (None, 401, 403):  # with another one the push itself may go through
            raise _push_error(error, target) from error


def _made_repository(api: HfApi, target: HubTarget) -> str:
    """The repository's full name; the repository, and a branch that was asked for, are made where they are missing."""
    space_sdk = "gradio" if target.repo_type == "space" else None
    options: dict[str, Any] = {"repo_type": target.repo_type, "exist_ok": True}
    name = target.repo_id if "/" in target.repo_id else f"{api.whoami()['name']}/{target.repo_id}"
    repo_id = api.create_repo(name, private=target.private, space_sdk=space_sdk, **options).repo_id
    if target.revision is not None and not target.revision.startswith("refs/"):
        api.create_branch(repo_id, branch=target.revision, **options)
    return repo_id


def _newest(api: HfApi, where: dict[str, Any]) -> str | None:
    """The newest commit; None where the Hub does not answer."""
    try:
        return api.repo_info(**where).sha
    except Exception as error:
        if not _is_of_the_hub(error):
            raise
        return None


def _at_the_root(names: list[str], pattern: str) -> list[str]:
    return [name for name in fnmatch.filter(names, pattern) if "/" not in name]


def _files_of(folder: Path, target: HubTarget, about: Any, *, has_card: bool) -> dict[str, Any]:
    """Name in the repository -> path or content: the folder, what others add to it, and what the caller gave."""
    files: dict[str, Any] = {
        path.relative_to(folder).as_posix(): str(path) for path in sorted(folder.rglob("*")) if path.is_file()
    }
    given = target.files(folder) if callable(target.files) else target.files
    for add in EXTRA_FILES if about is not None else ():
        for name, text in add(about, folder, target.repo_id).items():
            is_of_a_card = any(fnmatch.fnmatch(name, pattern) for pattern in _CARD_FILES)
            if not (is_of_a_card and (has_card or _CARD in given)):
                files[name] = text.encode()
    return files | {name: text.encode() if isinstance(text, str) else text for name, text in given.items()}


def _is_of_the_hub(error: BaseException | None) -> bool:
    """Whether the client or its HTTP library raised it, or the error that it was raised from."""
    if error is None:
        return False
    origins = {cls.__module__.partition(".")[0] for cls in type(error).__mro__}
    return bool(origins & {"huggingface_hub", "httpx", "httpx2"}) or _is_of_the_hub(error.__cause__)


def _status(error: Exception) -> int | None:
    """The HTTP status that the Hub answered with; None where it did not answer."""
    first = error.__cause__ if isinstance(error, RuntimeError) and error.__cause__ is not None else error
    return getattr(getattr(first, "response", None), "status_code", None)


def _push_error(error: Exception, target: HubTarget) -> Exception:
    status = _status(error)
    text = f"the push to {target.repo_id} failed, nothing there has changed: {_reason(error)}"
    if status in (401, 403) or isinstance(error, LocalTokenNotFoundError):
        return PermissionError(f"{text}; log in with `hf auth login` or pass a token that may write there")
    if status == 412:
        return ConnectionError(f"{text}; somebody else has committed meanwhile, push again")
    if isinstance(error, (RepositoryNotFoundError, RevisionNotFoundError)) or status == 404:
        return FileNotFoundError(f"{text}; correct the name, or pass a token that may see it")
    if isinstance(error, HFValidationError):
        return ValueError(f"{text}; a name is `user/name`")
    return ConnectionError(f"{text}; check the network and push again")


def _reason(error: Exception) -> str:
    """The part of a Hub error that says what happened, on one line."""
    told = str(error).partition("Please make sure you specified")[
        0
    ]  # repo_id and repo_type are no words of ours
    lines = [line.strip() for line in told.splitlines() if line.strip()]
    return " ".join(lines[:3]) if lines else type(error).__name__
