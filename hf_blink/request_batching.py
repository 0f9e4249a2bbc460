"""Dynamic batching: requests that come while the model is busy are answered together by its next call.

    submit -> queue -> the first request and others with equal options -> one call in the model's thread -> results

The first request of the queue is never passed over: it names the options of the next batch, and after `wait` seconds the
batch goes as it is. A batch whose call fails is repeated request by request, so that nobody gets another one's error. A
request whose caller was cancelled leaves the queue.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import Any

logger = logging.getLogger(__name__)

Process = Callable[[list[dict[str, Any]], dict[str, Any]], Sequence[Any]]


@dataclass(frozen=True, slots=True)
class BatchSettings:
    """How requests are put together.

    Attributes:
        texts: most texts of a batch; 1 links every request alone. A request with more is a batch of its own.
        characters: most characters of a batch, in all texts together.
        wait: seconds that a request waits for others while the model is idle.
        queue: most requests that wait; a further one is refused.

    Raises:
        ValueError: a setting out of range.
    """

    texts: int = 32
    characters: int = 50_000
    wait: float = 0.002
    queue: int = 256

    def __post_init__(self) -> None:
        for name in ("texts", "characters", "queue"):
            if getattr(self, name) < 1:
                raise ValueError(f"expected {name} of at least 1, got {getattr(self, name)}")
        if not 0 <= self.wait <= 1:
            raise ValueError(f"expected a wait of 0 to 1 seconds, got {self.wait}")


class QueueFullError(Exception):
    """A request was refused because too many wait already, or because the batcher is closing."""


@dataclass(eq=False, slots=True)
class _Request:
    items: list[dict[str, Any]]
    options: dict[str, Any]
    since: float
    answer: asyncio.Future[list[Any]]

    @property
    def characters(self) -> int:
        return sum(len(item["text"]) for item in self.items)


class RequestBatcher:
    """Gathers requests into batches for one model thread; an asynchronous context, which finishes what waits on leaving.

    Args:
        process: gives one result for each item, in order; runs in the model's thread. Items are dictionaries with the
            key "text", options are keyword arguments.
        settings: see [`BatchSettings`].
        observe: is told the number of texts of each batch.
    """

    def __init__(
        self,
        process: Process,
        settings: BatchSettings | None = None,
        observe: Callable[[int], Any] = lambda texts: None,
    ):
        self._process = process
        self._settings = settings or BatchSettings()
        self._observe = observe
        self._queue: dict[_Request, None] = {}  # in order of arrival
        self._changed = asyncio.Event()
        self._closing = True

    @property
    def queue_length(self) -> int:
        """Requests that wait; those that the model works on are not counted."""
        return len(self._queue)

    async def __aenter__(self) -> "RequestBatcher":
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="hf_blink-model")
        self._closing = False
        self._worker = asyncio.create_task(self._work())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._closing = True
        self._changed.set()
        await self._worker
        self._thread.shutdown()

    async def submit(self, items: list[dict[str, Any]], options: dict[str, Any]) -> list[Any]:
        """One result for each item.

        Args:
            items: the request's texts, as `process` takes them.
            options: arguments of the call; only requests with equal ones share it.

        Raises:
            QueueFullError: too many requests wait, or the batcher is closing or not entered.
            Exception: what `process` raised for these items alone.
        """
        if self._closing:
            raise QueueFullError("the server is stopping")
        if len(self._queue) >= self._settings.queue:
            raise QueueFullError(f"{len(self._queue)} requests wait already, which is the most allowed")
        loop = asyncio.get_running_loop()
        request = _Request(items, options, loop.time(), loop.create_future())
        self._queue[request] = None
        self._changed.set()
        try:
            return await request.answer
        finally:
            self._queue.pop(request, None)

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while batch := await self._next_batch():
            self._observe(sum(len(request.items) for request in batch))
            outcomes = await loop.run_in_executor(self._thread, self._outcomes, batch)
            for request, outcome in zip(batch, outcomes, strict=True):
                if request.answer.done():  # its caller has gone
                    continue
                if isinstance(outcome, Exception):
                    request.answer.set_exception(outcome)
                else:
                    request.answer.set_result(outcome)

    async def _next_batch(self) -> list[_Request]:
        """Takes a batch from the queue when it is full or due; empty when the batcher closes and nothing waits."""
        while True:
            self._changed.clear()
            batch, full = self._first_batch()
            if not batch and self._closing:
                return []
            left = self._seconds_left(batch[0]) if batch else None
            if left is not None and (full or self._closing or left <= 0):
                for request in batch:
                    del self._queue[request]
                return batch
            with suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), left)

    def _seconds_left(self, request: _Request) -> float:
        return request.since + self._settings.wait - asyncio.get_running_loop().time()

    def _first_batch(self) -> tuple[list[_Request], bool]:
        """The first request with those of equal options behind it, as many as fit, and whether no further one would."""
        batch: list[_Request] = []
        texts = characters = 0
        for request in self._queue:
            if batch and request.options != batch[0].options:
                continue
            texts += len(request.items)
            characters += request.characters
            if batch and (texts > self._settings.texts or characters > self._settings.characters):
                return batch, True
            batch.append(request)
        return batch, texts >= self._settings.texts or characters >= self._settings.characters

    def _outcomes(self, batch: list[_Request]) -> list[Any]:
        """Results or the error of each request; runs in the model's thread."""
        try:
            items = [item for request in batch for item in request.items]
            results = iter(self._process(items, batch[0].options))
            return [list(islice(results, len(request.items))) for request in batch]
        except Exception as error:
            if len(batch) == 1:
                return [error]
            logger.warning("a batch of %d requests failed (%r), each is tried alone", len(batch), error)
        return [outcome for request in batch for outcome in self._outcomes([request])]
