"""The Hub's HTTP interface as functions from a request to an answer, as far as the clients of the tests use it.

Written after the source of huggingface_hub 2.4. Where that does not show what the Hub answers, the comment says "guess".
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from tests.local_hub_store import Commit, HubError, Repository


@dataclass(frozen=True)
class User:
    """Owner of a token."""

    name: str
    organizations: tuple[str, ...] = ()
    may_write: bool = True

    def owns(self, namespace: str) -> bool:
        return namespace == self.name or namespace in self.organizations


def may_see(user: User | None, repository: Repository) -> bool:
    return not repository.private or (user is not None and user.owns(repository.namespace))


@dataclass(frozen=True)
class Request:
    """What the client sent."""

    method: str
    path: str  # still quoted, so that the slash of a revision is not one of the path
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]
    body: bytes

    def flag(self, name: str) -> bool:
        return self.query.get(name, ["false"])[-1].lower() in ("1", "true")

    def json(self) -> Any:
        return json.loads(self.body or b"{}")


@dataclass(frozen=True)
class Answer:
    """What the Hub sends back."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


def json_answer(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
    return Answer(status, json.dumps(value).encode(), {"Content-Type": "application/json", **(headers or {})})


def error_answer(error: HubError) -> Answer:
    headers = {"X-Error-Message": str(error).encode("ascii", "replace").decode()}
    if error.code:
        headers["X-Error-Code"] = error.code
    return json_answer({"error": str(error)}, error.status, headers)


@dataclass
class HubState:
    """Everything that the Hub knows.

    Attributes:
        endpoint: Address of the Hub.
        storage: Address of its large file storage. Another host name for the same server, as the client follows a
            redirect to the same host and would miss the headers that come with it.
        users: By token.
        repositories: By kind ("models", "datasets", "spaces") and id.
    """

    endpoint: str
    storage: str
    users: dict[str, User]
    repositories: dict[tuple[str, str], Repository] = field(default_factory=dict)

    def user_of(self, request: Request) -> User | None:
        """Whom the token belongs to; None without one.

        Raises:
            HubError: 401, nobody has this token. The Hub says so for public repositories, too.
        """
        authorization = request.headers.get("authorization", "")
        if not authorization:
            return None
        user = self.users.get(authorization.removeprefix("Bearer "))
        if user is None:
            raise HubError(401, "Invalid credentials in Authorization header")
        return user

    def repository(self, kind: str, repo_id: str, user: User | None) -> Repository:
        """A repository that the user may see; without a token a missing one is a 401, as on the Hub.

        Raises:
            HubError: 401 or 404, RepoNotFound. That the 401 carries the code is a guess: the client reads a 401 that way
                for https addresses alone.
        """
        repository = self.repositories.get((kind, repo_id))
        if repository and may_see(user, repository):
            return repository
        if user is None:
            raise HubError(401, "Invalid username or password.", "RepoNotFound")
        raise HubError(404, "Repository not found", "RepoNotFound")

    def url(self, repository: Repository) -> str:
        prefix = "" if repository.kind == "models" else f"{repository.kind}/"
        return f"{self.endpoint}/{prefix}{repository.repo_id}"


@dataclass(frozen=True)
class Call:
    """A request, who sent it, and the parts of its address."""

    state: HubState
    request: Request
    user: User | None
    parts: Mapping[str, str]

    @property
    def repository(self) -> Repository:
        return self.state.repository(self.parts.get("kind") or "models", self.parts["repo"], self.user)

    @property
    def revision(self) -> str:
        return self.parts["revision"]

    @property
    def commit(self) -> Commit:
        return self.repository.commit_of(self.revision)

    def signed_in(self) -> User:
        if self.user is None:
            raise HubError(401, "Invalid username or password.")
        return self.user

    def require_write(self, namespace: str) -> User:
        """Raises HubError 401 or 403 unless the user may write in a namespace."""
        user = self.signed_in()
        if not user.owns(namespace):
            raise HubError(403, f"You don't have the rights to write in the namespace {namespace!r}")
        if not user.may_write:
            raise HubError(403, "Your token has no write permission")
        return user

    def writable(self) -> Repository:
        repository = self.repository
        self.require_write(repository.namespace)
        return repository


Function = Callable[[Call], Answer]
ROUTES: list[tuple[str, re.Pattern[str], Function]] = []
API = r"/api/(?P<kind>models|datasets|spaces)/(?P<repo>[^/]+(?:/[^/]+)?)"
WEB = r"/(?:(?P<kind>datasets|spaces)/)?(?P<repo>[^/]+(?:/[^/]+)?)"
REVISION = "(?P<revision>[^/]+)"


def route(methods: str, pattern: str) -> Callable[[Function], Function]:
    """Registers a function for the addresses that match a pattern."""

    def register(function: Function) -> Function:
        ROUTES.extend((method, re.compile(pattern), function) for method in methods.split())
        return function

    return register


def answer(state: HubState, request: Request) -> Answer:
    """Answers any request; errors become error answers."""
    try:
        for method, pattern, function in ROUTES:
            match = pattern.fullmatch(request.path)
            if match and method == request.method:
                parts = {name: unquote(value) for name, value in match.groupdict().items() if value}
                user = None if parts.get("object") else state.user_of(request)
                return function(Call(state, request, user, parts))
        return json_answer({"error": f"the local Hub has no {request.method} {request.path}"}, 404)
    except HubError as error:
        return error_answer(error)
    except Exception as error:  # a mistake of this server: a status that the client shows and does not repeat
        return json_answer({"error": f"the local Hub failed: {error!r}"}, 501)
