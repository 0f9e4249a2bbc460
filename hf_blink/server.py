"""A linker over HTTP: `hf-blink serve REPO_OR_PATH`.

    POST /link            texts -> links, as `pipeline("entity-linking")` gives them
    GET  /entities/{id}   an entity of the knowledge base; a slash in the id may be written as it is or as %2F
    GET  /health          what is served
    GET  /metrics         figures for Prometheus
    GET  /docs            the OpenAPI document (/openapi.json) as a page, which loads nothing from other hosts

Requests are checked at once (`link_requests`), wait for the model together (`request_batching`) and are answered one by
one. Every error is `{"error": "..."}`; what went wrong inside is written to the log alone.
"""

import asyncio
import json
import logging
import os
import platform
import signal
import socket
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from copy import copy, deepcopy
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

try:  # the one place where the extra is looked for
    import prometheus_client
    import uvicorn
    from fastapi import FastAPI, HTTPException, Request, Response
    from fastapi import Path as PathParameter
    from fastapi_offline import FastAPIOffline
    from uvicorn.config import LOGGING_CONFIG
except ImportError as error:
    raise ImportError(
        "expected FastAPI, fastapi-offline, uvicorn and prometheus-client for the server; install them with "
        "`pip install 'hf_blink[serve]'` (in a clone: `pip install -c constraints.txt -e '.[serve]'`)"
    ) from error

from hf_blink import __version__
from hf_blink.body_limit import BodyLimit
from hf_blink.link_requests import MentionLimit, RequestLimits, RequestReader
from hf_blink.modeling.entity_linker import EntityLinker
from hf_blink.modeling.pipeline_entity_linking import EntityLinkingPipeline
from hf_blink.request_batching import BatchSettings, RequestBatcher
from hf_blink.server_errors import add_error_handlers
from hf_blink.server_messages import EntityAnswer, ErrorAnswer, HealthAnswer, LinkAnswer, LinkRequest
from hf_blink.server_metrics import MeasureRequests, ServerMetrics

logger = logging.getLogger(__name__)


def create_app(
    linker: EntityLinker,
    *,
    limits: RequestLimits | None = None,
    batching: BatchSettings | None = None,
    model_name: str = "linker",
) -> FastAPI:
    """The server's ASGI application, for any ASGI server with one worker.

    Args:
        linker: what is served; it stays as it is, on its device.
        limits: the most that a request may bring.
        batching: how requests are put together.
        model_name: shown by `/health` and in the documentation.
    """
    limits = limits or RequestLimits()
    service = _Service(linker, limits, batching or BatchSettings(), model_name)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with service.batcher:
            yield

    app = FastAPIOffline(  # brings the files of /docs along, which FastAPI's own page loads from another host
        redoc_url=None,
        title="hf_blink",
        version=__version__,
        description=f"Links mentions in texts to the {len(linker.knowledge_base):,} entities of {model_name}.",
        lifespan=lifespan,
        redirect_slashes=False,
    )
    app.add_middleware(BodyLimit, limit=limits.body_bytes)
    app.add_middleware(MeasureRequests, metrics=service.metrics)
    _add_routes(app, service)
    add_error_handlers(app)
    return app


def _add_routes(app: FastAPI, service: "_Service") -> None:
    def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
        return {status: {"model": ErrorAnswer} for status in statuses}

    app.add_api_route(
        "/link",
        service.link,
        methods=["POST"],
        response_model=list[LinkAnswer] | list[list[LinkAnswer]],
        summary="Link mentions",
        description="A text gives a list of links; a list of texts gives a list of such lists.",
        responses=errors(400, 413, 422, 500, 503),
    )
    app.add_api_route(
        "/entities/{id:path}",
        service.entity,
        response_model=EntityAnswer,
        summary="Look up an entity",
        responses=errors(404, 422),
    )
    app.add_api_route("/health", service.health, response_model=HealthAnswer, summary="See what is served")
    app.add_api_route("/metrics", service.figures, response_class=_PrometheusText, summary="Read the metrics")


class _PrometheusText(Response):
    media_type = prometheus_client.CONTENT_TYPE_LATEST


class _Service:
    """What the routes do."""

    def __init__(self, linker: EntityLinker, limits: RequestLimits, batching: BatchSettings, model_name: str):
        linker = copy(linker)
        linker.detector = MentionLimit(linker.mention_detector(), limits.mentions)
        linker.link("a", [(0, 1)])  # what is loaded at first use is loaded before the first request
        linker.knowledge_base.find_rows([])
        self._pipeline = EntityLinkingPipeline(
            linker.bi_encoder, linker=linker, device=linker.bi_encoder.device
        )
        self._knowledge_base = linker.knowledge_base
        self._reader = RequestReader(self._pipeline, limits)
        self._model_name = model_name
        self.metrics = ServerMetrics(lambda: self.batcher.queue_length)
        self.batcher = RequestBatcher(self._process, batching, self.metrics.batch_texts.observe)

    def _process(self, items: list[dict[str, Any]], options: dict[str, Any]) -> list[Any]:
        results: list[Any] = self._pipeline(items, batch_size=len(items), **options)
        return results

    async def link(self, body: LinkRequest, request: Request) -> Response:
        parameters = dict(body.parameters or {})
        try:
            items, options = self._reader.read(body.inputs, **parameters)
        except (TypeError, ValueError) as error:
            raise HTTPException(422, str(error)) from error
        results = await _unless_disconnected(request, self.batcher.submit(items, options))
        if results is None:
            return Response(status_code=499)  # nobody reads it; for the metrics
        self.metrics.mentions.inc(sum(not link["nil"] for links in results for link in links))
        answer = results if isinstance(body.inputs, list) else results[0]
        return Response(json.dumps(answer, ensure_ascii=False), media_type="application/json")

    def entity(self, entity_id: Annotated[str, PathParameter(alias="id")]) -> dict[str, Any]:
        try:
            row = self._knowledge_base.entity_row(entity_id)
        except KeyError as error:
            raise HTTPException(404, error.args[0]) from error
        return asdict(self._knowledge_base[row])

    async def health(self) -> HealthAnswer:
        libraries = {name: metadata.version(name) for name in ("torch", "transformers", "fastapi")}
        return HealthAnswer(
            status="ok",
            model=self._model_name,
            entities=len(self._knowledge_base),
            versions={"hf_blink": __version__, "python": platform.python_version(), **libraries},
        )

    async def figures(self) -> Response:
        return _PrometheusText(self.metrics.text())


async def _unless_disconnected(request: Request, work: Coroutine[Any, Any, Any]) -> Any:
    """The result of the work; None where the client goes first, which cancels the work."""

    async def disconnected() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    tasks = asyncio.create_task(work), asyncio.create_task(disconnected())
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return tasks[0].result() if tasks[0].done() else None
    finally:
        for task in tasks:
            task.cancel()


def serve(
    path: str | os.PathLike[str],
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    limits: RequestLimits | None = None,
    batching: BatchSettings | None = None,
    shutdown_timeout: int = 30,
    **load_options: Any,
) -> None:
    """Loads a linker and serves it until SIGTERM or Ctrl-C; then running requests are answered and new ones refused.

    Args:
        path: folder or Hub name of the linker.
        host: address to listen at; "0.0.0.0" for all of IPv4. There is no authentication.
        port: port to listen at; 0 takes a free one, which the log names.
        limits: the most that a request may bring.
        batching: how requests are put together.
        shutdown_timeout: seconds that running requests get to finish.
        **load_options: of `EntityLinker.from_pretrained`, such as `revision`, `token` and `device`.

    Raises:
        OSError: the port is in use, or there is no such linker.
        ValueError: a damaged linker.
    """
    with bound_socket(host, port) as listener:
        linker = EntityLinker.from_pretrained(path, **load_options)
        # A folder is named without the path to it, which is nobody's business.
        name = Path(path).resolve().name if Path(path).is_dir() else str(path)
        app = create_app(linker, limits=limits, batching=batching, model_name=name)
        log_config = deepcopy(LOGGING_CONFIG)
        log_config["loggers"]["hf_blink"] = {"handlers": ["default"], "level": "INFO", "propagate": False}
        config = uvicorn.Config(
            app, log_config=log_config, access_log=False, timeout_graceful_shutdown=shutdown_timeout
        )
        _Server(config).run(sockets=[listener])


def bound_socket(host: str, port: int) -> socket.socket:
    """A socket that is bound and does not listen yet, so that a port in use is found before the model is loaded.

    Raises:
        OSError: the address cannot be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio turns Nagle's delay of 40 ms off for sockets that name their protocol alone.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except (OSError, OverflowError) as error:
        listener.close()
        raise OSError(f"expected a free address to listen at, got {host} port {port}: {error}") from error
    return listener


class _Server(uvicorn.Server):
    """Ends normally after a signal, where uvicorn would raise it again, and says where it listens."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self.force_exit = self.should_exit and sig == signal.SIGINT  # Ctrl-C twice
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for listener in sockets or []:
            host, port = listener.getsockname()[:2]
            shown = f"[{host}]" if ":" in host else host
            logger.info("ready at http://%s:%d, documentation at http://%s:%d/docs", shown, port, shown, port)
