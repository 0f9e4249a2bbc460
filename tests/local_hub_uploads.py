"""What the local Hub does for a client that writes: repositories, uploads, commits, branches and tags.

Texts of errors are guesses, except those that the client looks for. So are these statuses: 400 for a commit that makes no
sense, 403 for the default branch.
"""

import base64
import json
from fnmatch import fnmatch
from typing import Any

from tests.local_hub_api import API, REVISION, WEB, Answer, Call, json_answer, route
from tests.local_hub_card import card_problems
from tests.local_hub_downloads import storage_url
from tests.local_hub_store import (
    LFS_PATTERNS,
    PULL_REQUEST,
    Commit,
    EntryNotFound,
    HubError,
    Repository,
    RevisionNotFound,
    StoredFile,
    new_repository,
)

MAX_REGULAR_SIZE = 10_000_000  # bytes; larger files go to large file storage


def named_repository(call: Call) -> tuple[str, str]:
    """Kind and id of the repository in the body of a request; without organization it is the user's own."""
    body = call.request.json()
    namespace = body.get("organization") or call.signed_in().name
    return f"{body.get('type') or 'model'}s", f"{namespace}/{body['name']}"


@route("POST", "/api/repos/create")
def create_repository(call: Call) -> Answer:
    body = call.request.json()
    kind, repo_id = named_repository(call)
    user = call.require_write(repo_id.split("/")[0])
    existing = call.state.repositories.get((kind, repo_id))
    if existing:
        conflict = {"error": f"You already created this {kind[:-1]} repo", "url": call.state.url(existing)}
        return json_answer(conflict, 409)
    private = body.get("visibility") == "private"
    repository = new_repository(kind, repo_id, private=private, sdk=body.get("sdk", ""), author=user.name)
    call.state.repositories[kind, repo_id] = repository
    return json_answer({"url": call.state.url(repository), "name": repo_id, "id": repo_id})


@route("DELETE", "/api/repos/delete")
def delete_repository(call: Call) -> Answer:
    kind, repo_id = named_repository(call)
    repository = call.state.repository(kind, repo_id, call.user)
    call.require_write(repository.namespace)
    del call.state.repositories[kind, repo_id]
    return Answer()


@route("PUT", f"{API}/settings")
def change_settings(call: Call) -> Answer:
    repository, body = call.writable(), call.request.json()
    if "visibility" in body:
        repository.private = body["visibility"] == "private"
    repository.gated = body.get("gated", repository.gated)
    return json_answer({"private": repository.private, "gated": repository.gated})


@route("POST", "/api/validate-yaml")
def validate_yaml(call: Call) -> Answer:
    errors, warnings = card_problems(call.request.json()["content"])
    found = {
        "errors": [{"message": message} for message in errors],
        "warnings": [{"message": message} for message in warnings],
    }
    return json_answer(found, 400 if errors else 200)


def upload_target(call: Call) -> Repository:
    """The repository of an upload; whoever may see it may propose a pull request."""
    repository = call.repository
    if call.request.flag("create_pr"):
        call.signed_in()
    else:
        call.require_write(repository.namespace)
    return repository


def is_large(path: str, sample: bytes, size: int) -> bool:
    """Whether a file belongs into large file storage: a guess, without the repository's own .gitattributes."""
    name = path.rsplit("/", 1)[-1]
    patterns = any(fnmatch(name, pattern) or fnmatch(path, pattern) for pattern in LFS_PATTERNS)
    return patterns or b"\0" in sample or size > MAX_REGULAR_SIZE


@route("POST", f"{API}/preupload/{REVISION}")
def preupload(call: Call) -> Answer:
    """Tells how each file must be sent, and what is there already. Ignoring by .gitignore is not known here."""
    contents = upload_target(call).commit_of(call.revision).contents
    files = []
    for file in call.request.json()["files"]:
        path, sample = file["path"], base64.b64decode(file["sample"])
        mode = "lfs" if is_large(path, sample, file["size"]) else "regular"
        entry = {"path": path, "uploadMode": mode, "shouldIgnore": False}
        if path in contents:
            entry["oid"] = contents[path].etag
        files.append(entry)
    return json_answer({"files": files})


@route("POST", rf"{WEB}\.git/info/lfs/objects/batch")
def lfs_batch(call: Call) -> Answer:
    """Addresses for the objects that are not there yet. Without `ref` it is for a pull request."""
    body, repository = call.request.json(), call.repository
    if "ref" in body:
        call.require_write(repository.namespace)
    call.signed_in()
    objects: list[dict[str, Any]] = []
    for item in body["objects"]:
        answer = {"oid": item["oid"], "size": item["size"], "authenticated": True}
        if item["oid"] not in repository.lfs_objects:
            answer["actions"] = {"upload": {"href": storage_url(call.state, repository, item["oid"])}}
        objects.append(answer)
    return json_answer({"transfer": "basic", "objects": objects})


@route("POST", f"{API}/commit/{REVISION}")
def make_commit(call: Call) -> Answer:
    """Adds one commit to a branch or a pull request, or opens a pull request with it: all of it or nothing."""
    repository = upload_target(call)
    lines = [json.loads(line) for line in call.request.body.splitlines() if line.strip()]
    if not lines or lines[0]["key"] != "header":
        raise HubError(400, "The first line of a commit must be its header")
    header, creates_pull = lines[0]["value"], call.request.flag("create_pr")
    parent = parent_of(repository, call.revision, header.get("parentCommit"), creates_pull=creates_pull)
    contents = dict(parent.contents)
    for line in lines[1:]:
        apply_operation(repository, contents, line["key"], line["value"])
    commit = repository.add_commit(
        parent,
        contents,
        title=header["summary"],
        message=header.get("description", ""),
        author=call.signed_in().name,
    )
    number = len(repository.pull_requests) + 1
    repository.move(f"refs/pr/{number}" if creates_pull else call.revision, commit)
    url = call.state.url(repository)
    done = {"success": True, "commitOid": commit.oid, "commitUrl": f"{url}/commit/{commit.oid}"}
    if creates_pull:
        done["pullRequestUrl"] = f"{url}/discussions/{number}"
    return json_answer(done)


def parent_of(repository: Repository, revision: str, expected: str | None, *, creates_pull: bool) -> Commit:
    """The newest commit of a branch, checked against the one that the client expects (else a 412).

    That a pull request may start from an older commit is a guess.
    """
    is_branch = revision in repository.branches or PULL_REQUEST.fullmatch(revision)
    if not is_branch:
        raise RevisionNotFound(revision)
    newest = repository.commit_of(revision)
    if expected is None:
        return newest
    if creates_pull:
        return repository.commit_of(expected)
    if not newest.oid.startswith(expected):
        raise HubError(412, "A commit has happened since. Please refresh and try again.")
    return newest


def apply_operation(
    repository: Repository, contents: dict[str, StoredFile], key: str, value: dict[str, Any]
) -> None:
    """Changes the files of a commit in the making by one line of the request."""
    path = value["path"].strip("/")
    if not path or {"..", ".", "", ".git"} & set(path.split("/")):
        raise HubError(400, f"Invalid path {value['path']!r}")
    if key == "file":
        contents[path] = StoredFile(base64.b64decode(value["content"], validate=True))
    elif key == "lfsFile":
        contents[path] = StoredFile(uploaded(repository, path, value), lfs=True)
    elif key in ("deletedFile", "deletedFolder"):
        is_folder = key == "deletedFolder"
        gone = [name for name in contents if (name.startswith(path + "/") if is_folder else name == path)]
        if not gone:
            raise EntryNotFound("A file with this name doesn't exist")
        for name in gone:
            del contents[name]
    else:
        raise HubError(400, f"Unknown operation {key!r}")


def uploaded(repository: Repository, path: str, value: dict[str, Any]) -> bytes:
    """The bytes behind an LFS pointer, which must have been uploaded to this repository."""
    content = repository.lfs_objects.get(value["oid"])
    if content is None:
        raise HubError(400, f"The LFS pointer of {path} points to a file that does not exist")
    if value.get("size", len(content)) != len(content):
        raise HubError(400, f"{path} has {len(content)} bytes, not {value['size']}")
    return content


@route("POST", f"{API}/branch/{REVISION}")
def create_branch(call: Call) -> Answer:
    repository = call.writable()
    if call.revision in repository.branches:
        raise HubError(409, f"Reference already exists: refs/heads/{call.revision}")
    start = repository.commit_of(call.request.json().get("startingPoint", "main"))
    repository.branches[call.revision] = start.oid
    return json_answer({})


@route("DELETE", f"{API}/branch/{REVISION}")
def delete_branch(call: Call) -> Answer:
    repository = call.writable()
    if call.revision == "main":
        raise HubError(403, "The default branch cannot be deleted")
    if repository.branches.pop(call.revision, None) is None:
        raise RevisionNotFound(call.revision)
    return json_answer({})


@route("POST", f"{API}/tag/{REVISION}")
def create_tag(call: Call) -> Answer:
    repository, tag = call.writable(), call.request.json()["tag"]
    if tag in repository.tags:
        raise HubError(409, f"Tag reference exists already: refs/tags/{tag}")
    repository.tags[tag] = repository.commit_of(call.revision).oid
    return json_answer({})


@route("DELETE", f"{API}/tag/{REVISION}")
def delete_tag(call: Call) -> Answer:
    if call.writable().tags.pop(call.revision, None) is None:
        raise RevisionNotFound(call.revision)
    return json_answer({})
