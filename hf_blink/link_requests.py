"""What a request to the server asks for: checked, within limits, and in the form that the pipeline takes.

Everything that the linker would refuse is refused here, by the linker's own checks, before the request waits for the
model; so what the model's call raises later is a fault of the server, not of the request. Only found mentions are counted
as late as that, by `MentionLimit`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

from hf_blink.modeling.candidate_ranking import check_worlds
from hf_blink.modeling.link_decision import check_settings
from hf_blink.modeling.mention_detection import checked_mentions, detected_spans, marked_mentions
from hf_blink.modeling.mention_items import check_one_each
from hf_blink.modeling.pipeline_entity_linking import EntityLinkingPipeline


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """The most that one request may bring.

    Attributes:
        body_bytes: bytes of its body.
        texts: texts of a request.
        characters: characters of a text.
        mentions: mentions of a text, whether given, marked or found.
        candidates: `top_k` of a request; a linker's own number of candidates is always allowed.

    Raises:
        ValueError: a limit under 1.
    """

    body_bytes: int = 1_000_000
    texts: int = 64
    characters: int = 20_000
    mentions: int = 500
    candidates: int = 64

    def __post_init__(self) -> None:
        for field in fields(self):
            if getattr(self, field.name) < 1:
                raise ValueError(
                    f"expected a limit of at least 1 {field.name}, got {getattr(self, field.name)}"
                )


class LimitError(ValueError):
    """A request over one of the limits."""


class MentionLimit:
    """A detector that refuses a text in which another detector finds too many mentions.

    Args:
        detector: finds the mentions.
        limit: the most mentions of a text.

    Raises:
        LimitError: in a call.
    """

    def __init__(self, detector: Callable[[Sequence[str]], Any], limit: int):
        self._detector = detector
        self._limit = limit

    def __call__(self, texts: Sequence[str]) -> Sequence[Any]:
        found = detected_spans(self._detector, texts)
        for spans in found:
            check_limit("mentions in a text", len(spans), self._limit, "send it in parts")
        return found


def check_limit(what: str, got: int, limit: int, remedy: str) -> None:
    """Refuses more than the limit.

    Raises:
        LimitError: says the limit, what came and the remedy.
    """
    if got > limit:
        raise LimitError(f"expected at most {limit} {what}, got {got}; {remedy}")


class RequestReader:
    """Reads requests for a pipeline.

    Args:
        pipeline: knows the form of inputs and the linker.
        limits: see [`RequestLimits`].
    """

    def __init__(self, pipeline: EntityLinkingPipeline, limits: RequestLimits):
        self._pipeline = pipeline
        self._linker = pipeline.linker
        self._limits = limits

    def read(
        self, inputs: Any, *, worlds: Any = None, **options: Any
    ) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """Checks the inputs and options of a request.

        Args:
            inputs: a text, a dictionary as the pipeline takes it, or a list of them.
            worlds: one world for all inputs, or a list with one for each.
            **options: `top_k`, `threshold`, `return_nil` and `marks`; None for the linker's own.

        Returns:
            The inputs as `{"text", "mentions", "world"}`, and the options that are not None.

        Raises:
            TypeError: inputs of another form.
            ValueError: what the linker refuses; a [`LimitError`] where a limit is passed.
        """
        items = inputs if isinstance(inputs, list) else [inputs]
        check_limit("texts in a request", len(items), self._limits.texts, "send several requests")
        given = {name: value for name, value in options.items() if value is not None}
        self._check_options(given)
        if isinstance(worlds, list):
            check_one_each("worlds", worlds, items)
        else:
            worlds = [worlds] * len(items)
        prepared = []
        for number, (item, world) in enumerate(zip(items, worlds, strict=True)):
            try:
                prepared.append(self._checked(item, world, given.get("marks")))
            except (TypeError, ValueError) as error:
                place = f"inputs[{number}]: " if isinstance(inputs, list) else ""
                raise ValueError(f"{place}{error}") from error
        return prepared, given

    def _check_options(self, options: dict[str, Any]) -> None:
        top_k = options.get("top_k", 1)
        check_settings(top_k, options.get("threshold", 0.0), name="top_k")
        most = max(self._limits.candidates, self._linker.num_candidates)
        check_limit("candidates (top_k)", top_k, most, "ask for fewer")

    def _checked(self, item: Any, world: Any, marks: tuple[str, str] | None) -> dict[str, Any]:
        prepared = self._pipeline.preprocess(item, world=world)
        text, mentions = prepared["text"], prepared["mentions"]
        check_limit("characters in a text", len(text), self._limits.characters, "send it in parts")
        check_unicode(text)
        check_worlds(self._linker.knowledge_base, [prepared["world"]])
        if marks is not None and mentions is not None:
            raise ValueError("expected mentions or marks, got both; leave one out")
        if marks is not None:
            _, mentions_found, _ = marked_mentions(text, marks)
            self._check_mentions(mentions_found)
        elif mentions is not None:
            if not isinstance(mentions, list):
                raise TypeError(f"expected mentions as a list of [start, end], got {type(mentions).__name__}")
            self._check_mentions(mentions)
            checked_mentions(text, mentions)
        return prepared

    def _check_mentions(self, mentions: Sequence[Any]) -> None:
        check_limit(
            "mentions in a text", len(mentions), self._limits.mentions, "send them in several requests"
        )


def check_unicode(text: str) -> None:
    """Refuses half of a surrogate pair, which JSON can write but no encoder and no answer can.

    Raises:
        ValueError: names the place.
    """
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(
            f"expected a text of Unicode characters, got half a surrogate pair at character {error.start}"
        ) from error
