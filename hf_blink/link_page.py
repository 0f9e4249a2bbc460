"""One HTML page that shows what a linker found in a text.

Algorithm:
    1. sort the links by start, the longer one first; number them and give each linked entity a colour;
    2. choose what is highlighted: from left to right, every mention that does not overlap one before it;
    3. cut the text at those mentions and, between them, at blank lines: these are the paragraphs;
    4. write a card for every link, highlighted or not, with the scores of the choice and of its runners-up.

The page is one file: inline CSS, no script, nothing loaded from anywhere (a content security policy in the
page says so to the browser). Text comes from data and may hold anything, so all of it passes `_escape`.
"""

import html
import re
from collections.abc import Iterator, Mapping, Sequence

from hf_blink.modeling.linking_types import Candidate, EntityLink

DESCRIPTION_LENGTH = 160  # characters of a description on a card
LABEL_LENGTH = 32  # characters of a title, or of an id, beside a mention
MAX_RUNNERS_UP = 3

_PALETTE = ("#2563eb", "#c2410c", "#0b7a53", "#c2255c", "#7c3aed", "#a16207", "#0e7490", "#4d7c0f")
_BLANK_LINES = re.compile(r"\r?\n[^\S\n]*(?:\n[^\S\n]*)+")
_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufffe\uffff\ud800-\udfff]")
_LEGEND = (
    "Percentages are the linker's probabilities, retrieval the bi-encoder's raw similarity, "
    "rerank the cross-encoder's raw logit (– where none was run)."
)


def render_page(
    text: str, links: Sequence[EntityLink], *, title: str = "Entity links", note: str = ""
) -> str:
    """Writes a text with its links as one self-contained HTML page.

    Of mentions that overlap, the one that starts earlier (or is longer) is highlighted; all get a card.

    Args:
        text: The text that was linked; blank lines part its paragraphs.
        links: What the linker found in it, in any order.
        title: Heading of the page.
        note: A line under the heading, plain text; "" shows none.

    Returns:
        The page, to be written to a file as UTF-8.

    Raises:
        ValueError: a mention is not the part of `text` that its offsets say.
    """
    _check_offsets(text, links)
    ordered = sorted(links, key=lambda link: (link.mention.start, -link.mention.end))
    colours = _colours(ordered)
    shown = _not_overlapping(ordered)
    cards = [
        _card(number, link, colours[number], highlighted=number in shown)
        for number, link in enumerate(ordered, start=1)
    ]
    return _PAGE.format(
        style=_STYLE,
        title=_escape(title),
        note=f'<p class="note" dir="auto">{_escape(note)}</p>' if note else "",
        summary=_summary(ordered),
        text="\n".join(_paragraphs(text, shown, colours)),
        cards='<section class="cards">\n{}\n</section>'.format("\n".join(cards)) if cards else "",
        legend=f"<footer>{_escape(_LEGEND)}</footer>" if cards else "",
    )


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
            classes.setdefault(link.entity.entity_id, f"c{len(classes) % len(_PALETTE)}")
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


def _paragraphs(text: str, shown: Mapping[int, EntityLink], colours: Mapping[int, str]) -> Iterator[str]:
    paragraphs = [""]
    position = 0
    for number, link in shown.items():
        _append_plain(paragraphs, text[position : link.mention.start])
        paragraphs[-1] += _highlight(number, link, colours[number])
        position = link.mention.end
    _append_plain(paragraphs, text[position:])
    return (f'<p dir="auto">{paragraph.strip()}</p>' for paragraph in paragraphs if paragraph.strip())


def _append_plain(paragraphs: list[str], plain: str) -> None:
    first, *others = _BLANK_LINES.split(plain)
    paragraphs[-1] += _escape(first)
    paragraphs.extend(map(_escape, others))


def _highlight(number: int, link: EntityLink, colour: str) -> str:
    return (
        f'<a class="mention {colour}" href="#link-{number}"><mark>{_escape(link.mention.text)}</mark>'
        f'<span class="label"><b>{number}</b> {_label(link)}</span></a>'
    )


def _label(link: EntityLink) -> str:
    """The entity's title, and its id where the title only repeats the mention."""
    if link.entity is None:
        return "NIL"
    title = f"<bdi>{_escape(_shorten(link.entity.title, LABEL_LENGTH))}</bdi>"
    if link.entity.title.casefold() != link.mention.text.casefold():
        return title
    return f"{title} <code>{_escape(_shorten(link.entity.entity_id, LABEL_LENGTH))}</code>"


def _card(number: int, link: EntityLink, colour: str, *, highlighted: bool) -> str:
    entity = link.entity
    if entity is None:
        name, entity_id = "Not in the knowledge base", '<span class="id">NIL</span>'
        known = link.retrieval_score is not None
        description = "No candidate is probable enough; the best has:" if known else "There is no candidate."
    else:
        name, description = entity.title, _shorten(entity.description, DESCRIPTION_LENGTH)
        entity_id = f'<code class="id">{_escape(entity.entity_id)}</code>'
    chosen_id = None if entity is None else entity.entity_id
    others = [candidate for candidate in link.candidates if candidate.entity.entity_id != chosen_id]
    runners_up = "\n".join(map(_runner_up, others[:MAX_RUNNERS_UP]))
    inside = "" if highlighted else ' <span class="inside">overlaps another mention</span>'
    return f"""<article class="card {colour}" id="link-{number}">
<header><b class="number">{number}</b> <q dir="auto">{_escape(link.mention.text)}</q>{inside}</header>
<h2 dir="auto">{_escape(name)}</h2>
{entity_id}
<p class="description" dir="auto">{_escape(description)}</p>
{_bar(link.score)}
<p class="raw">{_raw_scores(link.retrieval_score, link.rerank_score)}</p>
{f'<ol class="others">{runners_up}</ol>' if others else ""}
</article>"""


def _runner_up(candidate: Candidate) -> str:
    entity = candidate.entity
    description = _shorten(entity.description, DESCRIPTION_LENGTH)
    return f"""<li>
<div class="name" title="{_escape(description)}"><bdi>{_escape(entity.title)}</bdi> \
<code class="id">{_escape(entity.entity_id)}</code> \
<bdi class="description">{_escape(description)}</bdi></div>
{_bar(candidate.score)}
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


def _escape(text: str) -> str:
    """Text as HTML; characters that no page may hold become U+FFFD."""
    return html.escape(_UNPRINTABLE.sub("\ufffd", text), quote=True)


_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>
{style}</style>
</head>
<body>
<main>
<header class="top"><h1 dir="auto">{title}</h1><span class="summary">{summary}</span>{note}</header>
<section class="text" lang="">
{text}
</section>
{cards}
{legend}
</main>
</body>
</html>
"""

_STYLE = """:root { color-scheme: light dark; --page: #f5f6f8; --card: #fff; --ink: #1b1f27; --soft: #5c6573;
  --line: #e2e5ea; --tint: 14%; --text-mix: black; }
@media (prefers-color-scheme: dark) { :root { --page: #101318; --card: #191d24; --ink: #e8eaee;
  --soft: #9aa4b2; --line: #2b313b; --tint: 30%; --text-mix: white; } }
* { box-sizing: border-box; margin: 0; }
body { color: var(--ink); background: var(--page); print-color-adjust: exact;
  font: 14px/1.5 Inter, system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; }
main { max-width: 1200px; margin: 0 auto; padding: 28px 36px 22px; }
.nil { --colour: #6b7280; }
.mention, .card { --strong: color-mix(in srgb, var(--colour) 72%, var(--text-mix));
  --light: color-mix(in srgb, var(--colour) var(--tint), var(--card)); }
.top { display: flex; flex-wrap: wrap; align-items: baseline; gap: 2px 14px; margin-bottom: 16px; }
h1 { font-size: 23px; line-height: 1.3; letter-spacing: -0.015em; }
.summary, .note, footer { color: var(--soft); }
.note { flex-basis: 100%; }
.text, .card { background: var(--card); border: 1px solid var(--line); border-radius: 12px; }
.text { padding: 18px 24px; font-size: 16.5px; line-height: 1.9; }
.text p { white-space: pre-wrap; overflow-wrap: anywhere; }
.text p + p { margin-top: 10px; }
.mention { color: inherit; text-decoration: none; background: var(--light); padding: 3px 4px 3px 6px;
  border-radius: 6px; -webkit-box-decoration-break: clone; box-decoration-break: clone; }
.mention mark { background: none; color: inherit; font-weight: 600; }
.label { margin-left: 6px; padding: 2px 7px 2px 6px; border-radius: 4px; background: var(--colour);
  color: #fff; font-size: 11.5px; font-weight: 500; vertical-align: 1.5px; white-space: nowrap; }
.label b, .label code { font: inherit; opacity: 0.8; margin: 0 1px; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(320px, 1fr)); gap: 16px;
  margin-top: 16px; }
.card { padding: 17px 18px 15px; box-shadow: inset 0 4px 0 var(--colour); break-inside: avoid;
  overflow-wrap: anywhere; }
.card:target { outline: 2px solid var(--colour); }
.card > header { color: var(--soft); font-size: 13px; margin-bottom: 6px; }
.number { display: inline-block; min-width: 20px; padding: 0 5px; border-radius: 10px; color: #fff;
  background: var(--colour); font-size: 11.5px; line-height: 20px; text-align: center; margin-right: 3px; }
.inside { font-size: 11.5px; font-style: italic; }
h2 { display: inline; font-size: 17px; line-height: 1.35; letter-spacing: -0.01em; margin-right: 6px; }
.id { font: 11.5px ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace;
  color: var(--strong); background: var(--light); padding: 1px 6px; border-radius: 4px; }
.card > .description { margin: 5px 0 9px; font-size: 13px; line-height: 1.45; text-wrap: pretty; }
.probability { display: flex; align-items: center; gap: 10px; font-weight: 650; }
.probability, .raw { font-variant-numeric: tabular-nums; }
.bar { flex: 1; height: 8px; border-radius: 4px; background: var(--light); overflow: hidden; }
.bar i { display: block; height: 100%; border-radius: 4px; background: var(--colour); }
.raw { color: var(--soft); font-size: 12px; }
.raw span { margin-right: 10px; }
.raw b { color: var(--ink); font-weight: 550; }
.others { list-style: none; padding: 9px 0 0; margin-top: 9px; border-top: 1px solid var(--line);
  display: grid; gap: 7px; font-size: 12px; }
.others li { display: grid; grid-template-columns: 1fr auto; column-gap: 14px; align-items: center; }
.others .name { grid-column: 1 / -1; font-weight: 600; white-space: nowrap; overflow: hidden;
  text-overflow: ellipsis; }
.others .id { font-size: 11px; padding: 0 4px; color: var(--soft); background: var(--page); }
.others .description { color: var(--soft); font-weight: 400; }
.others .probability { gap: 8px; font-weight: 550; }
.others .probability > :last-child { min-width: 38px; text-align: right; }
.others .bar { height: 5px; opacity: 0.75; }
.others .raw span + span { margin: 0; }
footer { font-size: 11.5px; margin-top: 14px; }
@media (max-width: 600px) { main { padding: 16px; } .label { white-space: normal; } }
@media print { body { background: none; } main { padding: 0; } }
""" + "".join(f".c{number} {{ --colour: {colour}; }}\n" for number, colour in enumerate(_PALETTE))
