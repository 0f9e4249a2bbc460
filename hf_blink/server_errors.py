"""Every error of the server as `{"error": "..."}`: what was wrong with the request, and nothing of the server's inside."""

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from hf_blink.link_requests import LimitError
from hf_blink.request_batching import QueueFullError
from hf_blink.server_messages import LinkParameters, LinkRequest

_LENGTH = 1000  # characters of a message, which may quote what came
_SECONDS_TO_RETRY = "1"
_FIELDS = {("body",): LinkRequest.model_fields, ("body", "parameters"): LinkParameters.model_fields}


def add_error_handlers(app: FastAPI) -> None:
    """Sets how each kind of error is answered."""

    async def http_error(_: Request, error: Any) -> Response:
        return _error(error.status_code, str(error.detail), error.headers)

    async def too_much(_: Request, error: Exception) -> Response:
        return _error(422, str(error))

    async def invalid(_: Request, error: Any) -> Response:
        return _error(*_validation_message(error.errors()))

    async def queue_full(_: Request, error: Exception) -> Response:
        return _error(503, f"{error}; try again later", {"Retry-After": _SECONDS_TO_RETRY})

    async def failure(_: Request, error: Exception) -> Response:
        # The ASGI server, which gets the error too, writes the traceback to its log.
        return _error(500, "the server failed to answer this request; its log says why")

    app.add_exception_handler(HTTPException, http_error)
    app.add_exception_handler(LimitError, too_much)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(QueueFullError, queue_full)
    app.add_exception_handler(Exception, failure)


def _error(status: int, message: str, headers: Mapping[str, str] | None = None) -> Response:
    # JSON can bring half a surrogate pair, such as in the name of a field; an answer cannot hold it.
    writable = message[:_LENGTH].encode("utf-8", "backslashreplace").decode("utf-8")
    return JSONResponse({"error": writable}, status, headers)


def _validation_message(errors: Sequence[Mapping[str, Any]]) -> tuple[int, str]:
    """Status and message for what FastAPI and pydantic found: a body that is no JSON object, or fields of it."""
    first = errors[0]
    if first["type"] == "json_invalid":
        return (
            400,
            f"expected a body in JSON, got an error at character {first['loc'][1]}: {first['ctx']['error']}",
        )
    if first["loc"] == ("body",):
        return 422, 'expected a JSON object with "inputs" and the header content-type: application/json'
    return 422, "; ".join(map(_field_message, errors))


def _field_message(error: Mapping[str, Any]) -> str:
    """What is wrong with a field; of one that is not known, which are."""
    *parents, _ = error["loc"]
    place, told = ".".join(map(str, error["loc"][1:])), error["msg"]
    if error["type"] == "extra_forbidden" and tuple(parents) in _FIELDS:
        told = f"expected one of {', '.join(_FIELDS[tuple(parents)])}"
    return f"{place}: {told}, got {error['input']!r:.80}"
