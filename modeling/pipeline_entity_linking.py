"""`pipeline("entity-linking", model=PATH)`: a transformers pipeline around an `EntityLinker`.

transformers loads the bi-encoder and hands it over; everything else of the linker's folder is loaded here. Inputs are
taken in groups, because the linker batches the mentions of many texts together, whatever text they come from; so a
text without mentions costs nothing and always gives `[]`.
"""

from collections.abc import Iterator
from itertools import islice, repeat
from typing import Any

from transformers.pipelines.base import Pipeline

from .entity_linker import EntityLinker
from .mention_items import check_one_each

_TEXTS_AT_ONCE = 64
_INPUT_KEYS = ("text", "mentions", "world")
_LINK_OPTIONS = ("top_k", "threshold", "return_nil", "marks", "worlds", "nested")


def link_to_dict(link: Any) -> dict[str, Any]:
    """One link as the dictionary that the pipeline returns; JSON throughout."""
    return {
        "start": link.mention.start,
        "end": link.mention.end,
        "word": link.mention.text,
        "entity_id": None if link.entity is None else link.entity.entity_id,
        "title": None if link.entity is None else link.entity.title,
        "score": link.score,
        "retrieval_score": link.retrieval_score,
        "rerank_score": link.rerank_score,
        "mention_score": link.mention_score,
        "nil": link.nil,
        "candidates": [
            {
                "entity_id": candidate.entity.entity_id,
                "title": candidate.entity.title,
                "score": candidate.score,
                "retrieval_score": candidate.retrieval_score,
                "rerank_score": candidate.rerank_score,
            }
            for candidate in link.candidates
        ],
    }


def _iterator(inputs: Any) -> Iterator[Any]:
    try:
        return iter(inputs)
    except TypeError:
        raise TypeError(
            f"expected a str or a dict with the key 'text', or several of them, got {type(inputs).__name__}"
        ) from None


def _worlds_of_inputs(worlds: Any, inputs: Any) -> Iterator[str | None]:
    """The option `worlds` as one world for each input."""
    if worlds is None or isinstance(worlds, str):
        return repeat(worlds)
    if not hasattr(inputs, "__len__"):
        raise ValueError(
            "expected worlds as one str for inputs without a length, got several; give each input its own key 'world'"
        )
    check_one_each("worlds", worlds, inputs)
    return iter(worlds)


class EntityLinkingPipeline(Pipeline):
    """Links the mentions of texts to the entities of the model's knowledge base.

    Inputs: a text, a dictionary `{"text": ..., "mentions": [(start, end), ...], "world": ...}` (the last two may be
    left out), or a list, generator or `datasets.Dataset` of them. A text gives a list of dictionaries (`start`, `end`,
    `word`, `entity_id`, `title`, `score`, `retrieval_score`, `rerank_score`, `mention_score`, `nil`, `candidates`), best
    candidate first; many texts give a list of such lists; inputs without a length (a generator, an `IterableDataset`) give a
    generator, which reads them as it goes.

    Args of a call: `top_k`, `threshold`, `return_nil`, `marks`, `worlds`, `nested` (see `EntityLinker.link`; an input's own
    "world" goes before it) and `batch_size` (texts that are linked together).
    """

    _load_processor = False
    _load_image_processor = False
    _load_feature_extractor = False
    _load_tokenizer = False

    def __init__(self, model: Any, *args: Any, linker: EntityLinker | None = None, **kwargs: Any):
        super().__init__(model, *args, **kwargs)
        if linker is None:
            linker = EntityLinker.from_pretrained(model.name_or_path, **getattr(model, "hub_options", {}))
            linker.to(dtype=model.dtype)
        linker.bi_encoder = self.model
        self.linker = linker.to(self.device)

    def _sanitize_parameters(self, **options: Any) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        unknown = sorted(set(options) - {*_LINK_OPTIONS})
        if unknown:
            raise ValueError(
                f"expected options among {', '.join(_LINK_OPTIONS)} and batch_size, got {', '.join(unknown)}"
            )
        return {}, {name: value for name, value in options.items() if value is not None}, {}

    def __call__(self, inputs: Any, *args: Any, batch_size: int | None = None, **options: Any) -> Any:
        _, given, _ = self._sanitize_parameters(**options)
        options = {**self._forward_params, **given}
        size = batch_size or self._batch_size or _TEXTS_AT_ONCE
        single = isinstance(inputs, (str, dict))
        items = [inputs] if single else inputs
        iterator = _iterator(items)
        worlds = _worlds_of_inputs(options.pop("worlds", None), items)
        results = self._stream(iterator, worlds, size, options)
        if single:
            return next(results)
        return list(results) if hasattr(items, "__len__") else results

    def _stream(
        self, inputs: Iterator[Any], worlds: Iterator[Any], size: int, options: dict[str, Any]
    ) -> Iterator[list[dict[str, Any]]]:
        while group := list(islice(inputs, size)):
            prepared = [self.preprocess(item, world=next(worlds)) for item in group]
            yield from map(self.postprocess, self._forward(prepared, **options))

    def preprocess(self, inputs: Any, *, world: str | None = None, **_: Any) -> dict[str, Any]:
        """One input as `{"text", "mentions", "world"}`; mentions None asks the linker to look for them."""
        if isinstance(inputs, str):
            inputs = {"text": inputs}
        if not isinstance(inputs, dict) or not isinstance(inputs.get("text"), str):
            raise TypeError(
                f"expected a str or a dict with the key 'text', got {type(inputs).__name__}: {str(inputs)[:80]}"
            )
        if unknown := sorted(map(str, set(inputs) - {*_INPUT_KEYS})):
            raise ValueError(
                f"expected the keys {', '.join(_INPUT_KEYS)} in an input, got also {', '.join(unknown)}; leave them out "
                "(of a datasets.Dataset: dataset.select_columns)"
            )
        own_world = inputs.get("world")
        return {
            "text": inputs["text"],
            "mentions": inputs.get("mentions"),
            "world": world if own_world is None else own_world,
        }

    def _forward(self, model_inputs: Any, **options: Any) -> list[Any]:
        """Links a group of prepared inputs in one go."""
        texts, mentions, worlds = (
            [item[name] for item in model_inputs] for name in ("text", "mentions", "world")
        )
        given = None if all(spans is None for spans in mentions) else mentions
        results: list[Any] = self.linker.link(texts, given, worlds=worlds, **options)
        return results

    def postprocess(self, model_outputs: Any, **_: Any) -> list[dict[str, Any]]:
        return [link_to_dict(link) for link in model_outputs]

    def save_pretrained(self, save_directory: str, **_: Any) -> None:
        """Saves the whole linker, not the bi-encoder alone."""
        self.linker.save_pretrained(save_directory)

    def push_to_hub(self, repo_id: str, **target: Any) -> Any:
        """Pushes the whole linker; see `EntityLinker.push_to_hub`."""
        return self.linker.push_to_hub(repo_id, **target)
