"""Repositories of the local Hub in memory: files, commits, branches, tags and pull requests.

Object ids are git's: a file has the SHA-1 of its blob, a file of large file storage (LFS) that of its pointer. Ids of
commits and folders are only unique, not git's.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from itertools import pairwise

COMMIT_ID = re.compile(r"[0-9a-f]{40}")
PULL_REQUEST = re.compile(r"refs/pr/(\d+)")

# What a new repository on huggingface.co contains; the patterns decide what is stored by LFS.
LFS_SUFFIXES = """7z arrow bin bz2 ckpt ftz gz h5 joblib lfs.* mlmodel model msgpack npy npz onnx ot parquet pb pickle pkl
    pt pth rar safetensors tar.* tar tflite tgz wasm xz zip zst"""
LFS_PATTERNS = [*(f"*.{suffix}" for suffix in LFS_SUFFIXES.split()), "saved_model/**/*", "*tfevents*"]
GIT_ATTRIBUTES = "".join(f"{pattern} filter=lfs diff=lfs merge=lfs -text\n" for pattern in LFS_PATTERNS)


class HubError(Exception):
    """An answer of the Hub that is an error.

    Attributes:
        status: The HTTP status.
        code: What the client reads in `X-Error-Code`; "" for none.
    """

    def __init__(self, status: int, message: str, code: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class EntryNotFound(HubError):
    def __init__(self, message: str = "Entry not found") -> None:
        super().__init__(404, message, "EntryNotFound")


class RevisionNotFound(HubError):
    def __init__(self, revision: str) -> None:
        super().__init__(404, f"Invalid rev id: {revision}", "RevisionNotFound")


@dataclass(frozen=True)
class StoredFile:
    """Content of a file at a commit."""

    content: bytes
    lfs: bool = False

    @property
    def size(self) -> int:
        return len(self.content)

    @cached_property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    @property
    def pointer(self) -> bytes:
        """What git itself stores for a file of large file storage."""
        text = f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.sha256}\nsize {self.size}\n"
        return text.encode()

    @cached_property
    def oid(self) -> str:
        blob = self.pointer if self.lfs else self.content
        return hashlib.sha1(b"blob %d\0" % len(blob) + blob).hexdigest()

    @property
    def etag(self) -> str:
        """Name of the file in the client's cache."""
        return self.sha256 if self.lfs else self.oid


@dataclass(frozen=True)
class Commit:
    """A state of all files, and who made it."""

    oid: str
    parent: str | None
    title: str
    message: str
    author: str
    date: datetime
    contents: Mapping[str, StoredFile]

    @property
    def files(self) -> list[str]:
        return sorted(self.contents)


@dataclass
class Repository:
    """A model, dataset or space repository with its whole history."""

    kind: str  # "models", "datasets" or "spaces"
    repo_id: str
    private: bool = False
    gated: str | bool = False
    sdk: str = ""  # of a space
    created: datetime = field(default_factory=lambda: datetime.now(UTC))
    branches: dict[str, str] = field(default_factory=dict)  # name -> commit id, as in the two below
    tags: dict[str, str] = field(default_factory=dict)
    pull_requests: dict[int, str] = field(default_factory=dict)
    commits: dict[str, Commit] = field(default_factory=dict)
    lfs_objects: dict[str, bytes] = field(default_factory=dict)  # by SHA-256; uploaded, perhaps not committed

    @property
    def namespace(self) -> str:
        return self.repo_id.split("/")[0]

    def commit_of(self, revision: str) -> Commit:
        """The commit of a branch, tag, pull request (`refs/pr/1`) or full commit id."""
        pull = PULL_REQUEST.fullmatch(revision)
        oid = self.pull_requests.get(int(pull[1])) if pull else None
        name = revision.removeprefix("refs/heads/")
        oid = oid or self.branches.get(name) or self.tags.get(revision.removeprefix("refs/tags/"))
        if oid is None and COMMIT_ID.fullmatch(revision):
            oid = revision
        if oid not in self.commits:
            raise RevisionNotFound(revision)
        return self.commits[oid]

    def history(self, revision: str) -> Iterator[Commit]:
        """Commits from the newest to the first."""
        commit: Commit | None = self.commit_of(revision)
        while commit is not None:
            yield commit
            commit = self.commits[commit.parent] if commit.parent else None

    def last_change(self, revision: str, path: str) -> Commit:
        """The newest commit in which a file or folder became what it is."""

        def state(commit: Commit) -> dict[str, str]:
            return {
                name: file.oid
                for name, file in commit.contents.items()
                if name == path or name.startswith(path + "/")
            }

        commits = list(self.history(revision))
        now = state(commits[0])
        for newer, older in pairwise(commits):
            if state(older) != now:
                return newer
        return commits[-1]

    def add_commit(
        self,
        parent: Commit | None,
        contents: Mapping[str, StoredFile],
        *,
        title: str,
        message: str,
        author: str,
    ) -> Commit:
        """Stores a commit; no branch points to it yet."""
        date = datetime.now(UTC)
        parent_oid = parent.oid if parent else None
        identity = [self.kind, self.repo_id, parent_oid, title, message, date.isoformat(), len(self.commits)]
        oid = hashlib.sha1(json.dumps(identity).encode()).hexdigest()
        self.commits[oid] = Commit(oid, parent_oid, title, message, author, date, dict(contents))
        return self.commits[oid]

    def move(self, revision: str, commit: Commit) -> None:
        """Lets a branch or a pull request point to a commit."""
        if pull := PULL_REQUEST.fullmatch(revision):
            self.pull_requests[int(pull[1])] = commit.oid
        else:
            self.branches[revision.removeprefix("refs/heads/")] = commit.oid


def new_repository(kind: str, repo_id: str, *, private: bool, sdk: str, author: str) -> Repository:
    """A repository with the first commit that the Hub makes itself (it also writes a space's README.md)."""
    repository = Repository(kind, repo_id, private=private, sdk=sdk)
    contents = {".gitattributes": StoredFile(GIT_ATTRIBUTES.encode())}
    first = repository.add_commit(None, contents, title="initial commit", message="", author=author)
    repository.move("main", first)
    return repository


def tree_entries(commit: Commit, folder: str, *, recursive: bool) -> list[tuple[str, StoredFile | None]]:
    """Paths below a folder ("" for all) with their files; None for a folder.

    Raises:
        EntryNotFound: there is no such folder.
    """
    prefix = f"{folder}/" if folder else ""
    entries: dict[str, StoredFile | None] = {}
    for path in commit.files:
        if path.startswith(prefix):
            parts = path.removeprefix(prefix).split("/")
            for depth in range(1, len(parts) + 1 if recursive else 2):
                is_file = depth == len(parts)
                entries[prefix + "/".join(parts[:depth])] = commit.contents[path] if is_file else None
    if folder and not entries:
        raise EntryNotFound(f"{folder} does not exist on {commit.oid}")
    return sorted(entries.items(), key=lambda entry: (entry[1] is not None, entry[0]))
