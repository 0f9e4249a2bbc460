"""ASGI middleware that stops reading a body which is too long, with or without a Content-Length.

FastAPI's own `max_body_size` answers in plain text, and older versions have none.
"""

from fastapi import HTTPException
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class BodyLimit:
    """Answers 413 when the application reads more than the limit; a body that nobody reads is not counted.

    Args:
        app: the application.
        limit: bytes.
    """

    def __init__(self, app: ASGIApp, limit: int):
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        declared = Headers(scope=scope).get("content-length", "")
        length = 0

        async def limited_receive() -> Message:
            nonlocal length
            if declared.isdecimal():
                self._check(int(declared), declared)
            message = await receive()
            length += len(message.get("body", b""))
            self._check(length, f"{length} or more")
            return message

        await self._app(scope, limited_receive, send)

    def _check(self, length: int, shown: str) -> None:
        if length > self._limit:
            raise HTTPException(
                413, f"expected a body of at most {self._limit} bytes, got {shown}; send several requests"
            )
