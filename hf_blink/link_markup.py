"""The pieces of HTML that show what a linker found in a text: its paragraphs with highlights, and a card a link.

Algorithm:
    1. sort the links by start, the longer one first; number them and give each linked entity a colour;
    2. choose what is highlighted: from left to right, every mention that does not overlap one before it;
    3. cut the text at those mentions and, between them, at blank lines: these are the paragraphs;
    4. write a card for every link, highlighted or not, with the scores of the choice and of its runners-up.

`link_page` makes a page or a fragment of the pieces, `link_style` says how they look. Text comes from data and may
hold anything, so all of it passes `escape`.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hf_blink.link_style import PALETTE

if TYPE_CHECKING:  # not for running: a Space has this file, but no package around it
    from hf_blink.modeling.linking_types import Candidate, EntityLink

DESCRIPTION_LENGTH = 160  # characters of a description on a card
LABEL_LENGTH = 32  # characters of a title, or of an id, beside a mention
LEGEND = (
    "Percentages are the linker's probabilities, retrieval the bi-encoder's raw similarity, "
    "rerank the cross-encoder's raw logit (– where none was run)."
)

_BLANK_LINES = re.compile(r"\r?\n[^\S\n]*(?:\n[^\S\n]*)+")
_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufffe\uffff\ud800-\udfff]")


@dataclass(frozen=True)
class LinkMarkup:
    """The pieces, each HTML.

    Attributes:
        summary: How many mentions and entities there are.
        text: The paragraphs, with the highlights.
        overlapping: Highlights of the mentions that have no place in the paragraphs.
        cards: One for each link; "" without links.
    """

    summary: str
    text: str
    overlapping: str
    cards: str


def mark_up(
    text: str, links: Sequence[EntityLink], *, max_runners_up: int, popovers: bool = False
) -> LinkMarkup:
    """Writes a text and its links as HTML.

    Of mentions that overlap, the one that starts earlier (or is longer) is highlighted; all get a card.

    Args:
        text: The text that was linked; blank lines part its paragraphs.
        links: What the linker found in it, in any order.
        max_runners_up: Candidates on a card beside the chosen one.
        popovers: True hides each card until its highlight, a button, is pressed or pointed at; False makes the
            highlights links to the cards.

    Raises:
        ValueError: a mention is not the part of `text` that its offsets say.
    """
    _check_offsets(text, links)
    ordered = sorted(links, key=lambda link: (link.mention.start, -link.mention.end))
    colours = _colours(ordered)
    shown = _not_overlapping(ordered)
    write = _popover_highlight if popovers else _link_highlight
    highlights = {
        number: write(number, link, colours[number]) for number, link in enumerate(ordered, start=1)
    }
    attribute = " popover" if popovers else ""
    cards = [
        f'<article class="card {colours[number]}" id="link-{number}"{attribute}>\n'
        f"{_card(number, link, max_runners_up, highlighted=number in shown)}\n</article>"
        for number, link in enumerate(ordered, start=1)
    ]
    return LinkMarkup(
        summary=_summary(ordered),
        text="\n".join(_paragraphs(text, shown, highlights)),
        overlapping=" ".join(highlights[number] for number in highlights if number not in shown),
        cards="\n".join(cards),
    )


def escape(text: str) -> str:
    """Text as HTML, also inside quoted attributes; characters that no page may hold become U+FFFD."""
    return html.escape(_UNPRINTABLE.sub("\ufffd", text), quote=True)


def _check_offsets(text: str, links: Sequence[EntityLink]) -> None:
    for link in links:
        mention = link.mention
        found = text[mention.start : mention.end]
        if found != mention.text:
            raise ValueError(
                f"expected the mention {mention.text!r} at characters {mention.start} to {mention.end} of "
                f"the text, got {found!r} there; pass the text that these links were made from"
            )


def _not_overlapping(ordered: Sequence[EntityLink]) -> dict[int, EntityLink]:
    """The links to highlight, by their number from 1."""
    shown: dict[int, EntityLink] = {}
    end = 0
    for number, link in enumerate(ordered, start=1):
        if link.mention.start >= end:
            shown[number] = link
            end = link.mention.end
    return shown


def _colours(ordered: Sequence[EntityLink]) -> dict[int, str]:
    """The class of each link, by its number from 1: the palette in turn by first appearance, or "nil"."""
    classes: dict[str, str] = {}
    for link in ordered:
        if link.entity is not None:
            classes.setdefault(link.entity.entity_id, f"c{len(classes) % len(PALETTE)}")
    return {
        number: "nil" if link.entity is None else classes[link.entity.entity_id]
        for number, link in enumerate(ordered, start=1)
    }


def _summary(ordered: Sequence[EntityLink]) -> str:
    if not ordered:
        return "no mentions found"
    entities = len({link.entity.entity_id for link in ordered if link.entity is not None})
    nil = sum(link.nil for link in ordered)
    parts = [
        f"{len(ordered)} mention{'s' * (len(ordered) != 1)}",
        f"{entities} {'entity' if entities == 1 else 'entities'}",
    ]
    return " · ".join([*parts, f"{nil} not in the knowledge base"] if nil else parts)


def _paragraphs(text: str, shown: Mapping[int, EntityLink], highlights: Mapping[int, str]) -> Iterator[str]:
    paragraphs = [""]
    position = 0
    for number, link in shown.items():
        _append_plain(paragraphs, text[position : link.mention.start])
        paragraphs[-1] += highlights[number]
        position = link.mention.end
    _append_plain(paragraphs, text[position:])
    return (f'<p dir="auto">{paragraph.strip()}</p>' for paragraph in paragraphs if paragraph.strip())


def _append_plain(paragraphs: list[str], plain: str) -> None:
    first, *others = _BLANK_LINES.split(plain)
    paragraphs[-1] += escape(first)
    paragraphs.extend(map(escape, others))


def _link_highlight(number: int, link: EntityLink, colour: str) -> str:
    return f'<a class="mention {colour}" href="#link-{number}">{_marked(number, link)}</a>'


def _popover_highlight(number: int, link: EntityLink, colour: str) -> str:
    """A button; `interestfor` shows the card to a pointer at rest, in browsers that know it."""
    card = f"link-{number}"
    return (
        f'<button type="button" class="mention {colour}" popovertarget="{card}" popovertargetaction="show" '
        f'interestfor="{card}">{_marked(number, link)}</button>'
    )


def _marked(number: int, link: EntityLink) -> str:
    return (
        f'<mark>{escape(link.mention.text)}</mark><span class="label"><b>{number}</b> {_label(link)}</span>'
    )


def _label(link: EntityLink) -> str:
    """The entity's title, and its id where the title only repeats the mention."""
    if link.entity is None:
        return "NIL"
    title = f"<bdi>{escape(_shorten(link.entity.title, LABEL_LENGTH))}</bdi>"
    if link.entity.title.casefold() != link.mention.text.casefold():
        return title
    return f"{title} <code>{escape(_shorten(link.entity.entity_id, LABEL_LENGTH))}</code>"


def _card(number: int, link: EntityLink, max_runners_up: int, *, highlighted: bool) -> str:
    entity = link.entity
    if entity is None:
        name, entity_id = "Not in the knowledge base", '<span class="id">NIL</span>'
        known = link.retrieval_score is not None
        description = "No candidate is probable enough; the best has:" if known else "There is no candidate."
    else:
        name, description = entity.title, _shorten(entity.description, DESCRIPTION_LENGTH)
        entity_id = f'<code class="id">{escape(entity.entity_id)}</code>'
    chosen_id = None if entity is None else entity.entity_id
    others = [candidate for candidate in link.candidates if candidate.entity.entity_id != chosen_id]
    runners_up = "\n".join(_runner_up(other, link.joint_score(other)) for other in others[:max_runners_up])
    inside = "" if highlighted else ' <span class="inside">overlaps another mention</span>'
    return f"""<header><b class="number">{number}</b> <q dir="auto">{escape(link.mention.text)}</q>{inside}</header>
<h2 dir="auto">{escape(name)}</h2>
{entity_id}
<p class="description" dir="auto">{escape(description)}</p>
{_bar(link.score)}
<p class="raw">{_raw_scores(link.retrieval_score, link.rerank_score)}</p>
{f'<ol class="others">{runners_up}</ol>' if runners_up else ""}"""


def _runner_up(candidate: Candidate, score: float) -> str:
    entity = candidate.entity
    description = _shorten(entity.description, DESCRIPTION_LENGTH)
    return f"""<li>
<div class="name" title="{escape(description)}"><bdi>{escape(entity.title)}</bdi> \
<code class="id">{escape(entity.entity_id)}</code> \
<bdi class="description">{escape(description)}</bdi></div>
{_bar(score)}
<div class="raw">{_raw_scores(candidate.retrieval_score, candidate.rerank_score)}</div>
</li>"""


def _bar(probability: float) -> str:
    """A probability as a bar and in percent; what lies outside 0 to 1 fills none or all of the bar."""
    width = 100 * min(max(probability, 0.0), 1.0)
    bar = f'<span class="bar"><i style="width: {width:.1f}%"></i></span>'
    return f'<div class="probability">{bar} <span>{100 * probability:.1f}%</span></div>'


def _raw_scores(retrieval: float | None, rerank: float | None) -> str:
    pairs = (("retrieval", retrieval, ".3f"), ("rerank", rerank, "+.2f"))
    return " ".join(
        f"<span>{name} <b>{'–' if value is None else format(value, spec).replace('-', '−')}</b></span>"
        for name, value, spec in pairs
    )


def _shorten(text: str, length: int) -> str:
    """Cuts at a word's end where there is one near (languages without spaces have none)."""
    line = " ".join(text.split())
    if len(line) <= length:
        return line
    word_end = line[:length].rfind(" ")
    return line[: word_end if word_end > length // 2 else length - 1].rstrip(" ,;:.") + "…"
