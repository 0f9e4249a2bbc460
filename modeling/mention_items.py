"""What one call of the linker asks for, mention by mention: the mention, what the encoders see of it, its world.

    texts and spans, or texts with marks -> border checks -> one `MentionItem` a mention, in the order of the texts

Contexts are cut to what can reach a mention window, so that a long text with many mentions is not copied for each.
"""

from collections.abc import Iterable, Mapping, Sequence, Sized
from dataclasses import dataclass
from typing import Any

from .linking_types import Mention, MentionContext
from .mention_detection import checked_mentions, marked_mentions

_CHARACTERS_A_TOKEN = 64  # see processing_blink.nearest_text


@dataclass(frozen=True, slots=True)
class MentionItem:
    """A mention on its way through the stages.

    Attributes:
        text_number: position of its text in the call.
        mention: the span, in characters of the text as given.
        context: the text around it, without marks.
        world: the world of its candidates; None for the whole knowledge base.
    """

    text_number: int
    mention: Mention
    context: MentionContext
    world: str | None


def text_list(texts: Any) -> list[str]:
    """One text or several as a list.

    Raises:
        TypeError: neither a string nor strings; names the position.
    """
    if isinstance(texts, str):
        return [texts]
    if isinstance(texts, Mapping) or not isinstance(texts, Iterable):
        raise TypeError(f"expected texts as a str or a sequence of str, got {type(texts).__name__}")
    listed = list(texts)
    for number, text in enumerate(listed):
        if not isinstance(text, str):
            raise TypeError(f"expected texts as str, got {type(text).__name__} at position {number}")
    return listed


def check_one_each(name: str, values: Any, texts: Sized) -> None:
    """Refuses `values` (of the argument `name`) that are not one for each text.

    Raises:
        ValueError: another number of values, or no sequence.
    """
    if not isinstance(values, Sized) or len(values) != len(texts):
        got = len(values) if isinstance(values, Sized) else type(values).__name__
        raise ValueError(f"expected one value of {name} for each of the {len(texts)} texts, got {got}")


def mention_items(
    texts: Sequence[str],
    mentions: Sequence[Any] | None,
    marks: tuple[str, str] | None,
    worlds: Sequence[str | None],
    mention_length: int,
) -> list[MentionItem]:
    """The mentions of all texts with their contexts.

    Args:
        texts: the texts.
        mentions: spans of each text; None reads `marks`.
        marks: opening and closing mark around mentions in the texts; with None, `mentions` is given.
        worlds: the world of each text.
        mention_length: tokens of a mention window.

    Raises:
        ValueError: a span out of its text, or a mark without its partner.
    """
    reach = mention_length * _CHARACTERS_A_TOKEN
    items = []
    for number, text in enumerate(texts):
        if marks is not None:
            plain, found, spans = marked_mentions(text, marks)
        else:
            plain, found = text, checked_mentions(text, mentions[number] if mentions is not None else [])
            spans = [(mention.start, mention.end) for mention in found]
        for mention, (start, end) in zip(found, spans, strict=True):
            left, right = plain[max(start - reach, 0) : start], plain[end : end + reach]
            context = MentionContext(left, mention.text, right)
            items.append(MentionItem(number, mention, context, worlds[number]))
    return items
