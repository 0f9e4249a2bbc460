"""What the local Hub answers to a client that reads: information, listings and the files themselves.

Texts of errors are guesses, except those that the client looks for.
"""

import hashlib
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from urllib.parse import parse_qs, quote

from tests.local_hub_api import (
    API,
    REVISION,
    WEB,
    Answer,
    Call,
    HubState,
    Request,
    error_answer,
    json_answer,
    may_see,
    route,
)
from tests.local_hub_card import card_data
from tests.local_hub_store import EntryNotFound, HubError, Repository, StoredFile, tree_entries


@route("GET", "/api/whoami-v2")
def who_am_i(call: Call) -> Answer:
    user = call.signed_in()
    organizations = [{"type": "org", "name": name, "fullname": name} for name in user.organizations]
    token = {"displayName": "test", "role": "write" if user.may_write else "read"}
    about = {"type": "user", "id": user.name, "name": user.name, "fullname": user.name, "orgs": organizations}
    return json_answer({**about, "auth": {"type": "access_token", "accessToken": token}})


@route("GET", "/api/agent-harnesses")
def agent_harnesses(call: Call) -> Answer:
    """The client asks for these once, to write its user agent."""
    return json_answer({"standardEnvVars": [], "harnesses": {}})


@route("GET", f"{API}/auth-check(?P<write>/write)?")
def check_access(call: Call) -> Answer:
    require_open(call, call.repository)
    if call.parts.get("write"):
        call.writable()
    return json_answer({})


def timestamp(date: datetime) -> str:
    return date.strftime("%Y-%m-%dT%H:%M:%S.000Z")


def info_json(call: Call, repository: Repository, revision: str) -> dict[str, Any]:
    """What model_info, dataset_info and space_info read; `blobs=true` adds size and ids of the files."""
    commit = repository.commit_of(revision)
    siblings: list[dict[str, Any]] = [{"rfilename": path} for path in commit.files]
    if call.request.flag("blobs"):
        siblings = [{"rfilename": path, **blob_json(commit.contents[path])} for path in commit.files]
    card = card_data(commit)
    tags = card.get("tags", [])
    return {
        "_id": repository.repo_id,
        "id": repository.repo_id,
        "author": repository.namespace,
        "sha": commit.oid,
        "createdAt": timestamp(repository.created),
        "lastModified": timestamp(repository.commit_of("main").date),
        "private": repository.private,
        "gated": repository.gated,
        "disabled": False,
        "downloads": 0,
        "likes": 0,
        "cardData": card,
        "tags": tags if isinstance(tags, list) else [tags],
        "siblings": siblings,
        **({"sdk": repository.sdk} if repository.sdk else {}),
        # The real Hub also guesses these two from the files.
        **{name: card[name] for name in ("library_name", "pipeline_tag") if name in card},
    }


def blob_json(file: StoredFile) -> dict[str, Any]:
    lfs = {"sha256": file.sha256, "size": file.size, "pointerSize": len(file.pointer)}
    return {"size": file.size, "blobId": file.oid, **({"lfs": lfs} if file.lfs else {})}


@route("GET", f"{API}(?:/revision/{REVISION})?")
def repository_info(call: Call) -> Answer:
    return json_answer(info_json(call, call.repository, call.parts.get("revision", "main")))


@route("GET", "/api/(?P<kind>models|datasets|spaces)")
def list_repositories(call: Call) -> Answer:
    """Those that the user may see, filtered by author and by words in the id. Tags and sorting are not known here."""
    author, search = (call.request.query.get(name, [""])[0] for name in ("author", "search"))
    found = [
        repository
        for (kind, _), repository in sorted(call.state.repositories.items())
        if kind == call.parts["kind"] and search.lower() in repository.repo_id.lower()
        if author in ("", repository.namespace) and may_see(call.user, repository)
    ]
    return json_answer([info_json(call, repository, "main") for repository in found])


@route("GET", f"{API}/refs")
def list_refs(call: Call) -> Answer:
    def refs(prefix: str, targets: Mapping[Any, str]) -> list[dict[str, str]]:
        return [
            {"name": str(name), "ref": f"{prefix}{name}", "targetCommit": oid}
            for name, oid in targets.items()
        ]

    repository = call.repository
    found = {"branches": refs("refs/heads/", repository.branches), "converts": []}
    found["tags"] = refs("refs/tags/", repository.tags)
    if call.request.flag("include_prs"):
        found["pullRequests"] = refs("refs/pr/", repository.pull_requests)
    return json_answer(found)


@route("GET", f"{API}/commits/{REVISION}")
def list_commits(call: Call) -> Answer:
    """All commits on one page; the real Hub pages."""
    return json_answer(
        [
            {
                "id": commit.oid,
                "title": commit.title,
                "message": commit.message,
                "authors": [{"user": commit.author}],
                "date": timestamp(commit.date),
            }
            for commit in call.repository.history(call.revision)
        ]
    )


def entry_json(call: Call, path: str, file: StoredFile | None, *, expand: bool) -> dict[str, Any]:
    """One file or folder of a listing, if asked with the commit that it comes from."""
    if file is None:
        oid = hashlib.sha1(f"{call.commit.oid}/{path}".encode()).hexdigest()
        entry: dict[str, Any] = {"type": "directory", "oid": oid, "size": 0, "path": path}
    else:
        entry = {"type": "file", "oid": file.oid, "size": file.size, "path": path}
    if file is not None and file.lfs:
        entry["lfs"] = {"oid": file.sha256, "size": file.size, "pointerSize": len(file.pointer)}
    if expand:
        commit = call.repository.last_change(call.revision, path)
        entry["lastCommit"] = {"id": commit.oid, "title": commit.title, "date": timestamp(commit.date)}
    return entry


@route("GET", f"{API}/tree/{REVISION}(?:/(?P<path>.+))?")
def list_tree(call: Call) -> Answer:
    """All entries on one page; the real Hub pages."""
    recursive, expand = call.request.flag("recursive"), call.request.flag("expand")
    entries = tree_entries(call.commit, call.parts.get("path", "").strip("/"), recursive=recursive)
    return json_answer([entry_json(call, path, file, expand=expand) for path, file in entries])


@route("POST", f"{API}/paths-info/{REVISION}")
def paths_info(call: Call) -> Answer:
    """Those of the asked paths that exist; the question comes as a form."""
    form = parse_qs(call.request.body.decode())
    known = dict(tree_entries(call.commit, "", recursive=True))
    expand = form.get("expand", ["false"])[0].lower() == "true"
    paths = [path.strip("/") for path in form.get("paths", [])]
    return json_answer(
        [entry_json(call, path, known[path], expand=expand) for path in paths if path in known]
    )


def require_open(call: Call, repository: Repository) -> None:
    """Raises HubError GatedRepo unless the user belongs to the owner of a gated repository.

    Nobody else can be let in here. That it is a 401 without a token is a guess.
    """
    if repository.gated and not (call.user and call.user.owns(repository.namespace)):
        raise HubError(403 if call.user else 401, "Access to this repository is restricted", "GatedRepo")


def ranged(request: Request, content: bytes, headers: Mapping[str, str]) -> Answer:
    """The content, or with a `Range` header a part of it."""
    size = len(content)
    match = re.fullmatch(r"bytes=(\d*)-(\d*)", request.headers.get("range", ""))
    headers = {"Content-Type": "application/octet-stream", "Accept-Ranges": "bytes", **headers}
    if not match or not any(match.groups()):
        return Answer(200, content, headers)
    first, last = match.groups()
    start = int(first) if first else max(0, size - int(last))
    stop = min(size, int(last) + 1) if first and last else size
    if start >= stop:
        return Answer(416, b"", {"Content-Range": f"bytes */{size}"})
    return Answer(206, content[start:stop], {**headers, "Content-Range": f"bytes {start}-{stop - 1}/{size}"})


@route("GET HEAD", f"{WEB}/resolve/{REVISION}/(?P<path>.+)")
def resolve(call: Call) -> Answer:
    """A file: git's own at once, those of large file storage by redirect to a signed address."""
    repository, commit = call.repository, call.commit
    require_open(call, repository)
    headers = {"X-Repo-Commit": commit.oid}
    file = commit.contents.get(call.parts["path"])
    if file is None:
        error = error_answer(EntryNotFound())
        return Answer(error.status, error.body, {**error.headers, **headers})
    if not file.lfs:
        return ranged(call.request, file.content, {**headers, "ETag": f'"{file.etag}"'})
    headers |= {"X-Linked-Etag": f'"{file.etag}"', "X-Linked-Size": str(file.size)}
    return Answer(302, b"", {**headers, "Location": storage_url(call.state, repository, file.sha256)})


def signature_of(sha256: str) -> str:
    return hashlib.sha256(f"signed {sha256}".encode()).hexdigest()[:16]


def storage_url(state: HubState, repository: Repository, sha256: str) -> str:
    """Address of an object with the permission to read or write it: no token is needed there."""
    where = f"{repository.kind}/{quote(repository.repo_id)}/{sha256}"
    return f"{state.storage}/lfs/{where}?signature={signature_of(sha256)}"


@route("GET HEAD PUT", "/lfs/(?P<store>[a-z]+)/(?P<owner>.+)/(?P<object>[0-9a-f]{64})")
def large_file_storage(call: Call) -> Answer:
    """Sends or takes the bytes of an object. As S3 does, it refuses a token beside the signed address."""
    repository = call.state.repositories.get((call.parts["store"], call.parts["owner"]))
    sha256 = call.parts["object"]
    if "authorization" in call.request.headers:
        raise HubError(400, "Only one auth mechanism allowed")
    if repository is None or call.request.query.get("signature") != [signature_of(sha256)]:
        raise HubError(403, "The signature of the address does not match")
    if call.request.method != "PUT":
        return ranged(call.request, repository.lfs_objects[sha256], {"ETag": f'"{sha256}"'})
    if hashlib.sha256(call.request.body).hexdigest() != sha256:
        raise HubError(400, "The content does not have the SHA-256 that was announced")
    repository.lfs_objects[sha256] = call.request.body
    return Answer(200, b"", {"ETag": f'"{sha256}"'})
