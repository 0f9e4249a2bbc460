"""What a linker found in a text, as one HTML page or as a fragment of one.

The page is one file with a card for every link under the text; the fragment is a part of another page, such as the
demo, and shows a mention's card where the mention is pressed or pointed at. Both have inline CSS and no script, and
load nothing from anywhere (in the page a content security policy says so to the browser).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hf_blink.link_markup import LEGEND, escape, mark_up
from hf_blink.link_style import FRAGMENT_STYLE, PAGE_STYLE

if TYPE_CHECKING:  # not for running: a Space has this file, but no package around it
    from hf_blink.modeling.linking_types import EntityLink

MAX_RUNNERS_UP = 3  # on a card of the page


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
    markup = mark_up(text, links, max_runners_up=MAX_RUNNERS_UP)
    return _PAGE.format(
        style=PAGE_STYLE,
        title=escape(title),
        note=f'<p class="note" dir="auto">{escape(note)}</p>' if note else "",
        summary=markup.summary,
        text=markup.text,
        cards=f'<section class="cards">\n{markup.cards}\n</section>' if links else "",
        legend=f"<footer>{escape(LEGEND)}</footer>" if links else "",
    )


def render_fragment(text: str, links: Sequence[EntityLink]) -> str:
    """Writes a text with its links as a part of another page.

    Args:
        text: As in `render_page`.
        links: As in `render_page`; cards show all their candidates.

    Returns:
        One `<div>` with its style inside; its ids are `link-1`, `link-2`, ..., so a page has room for one.

    Raises:
        ValueError: a mention is not the part of `text` that its offsets say.
    """
    most = max((len(link.candidates) for link in links), default=0)
    markup = mark_up(text, links, max_runners_up=most, popovers=True)
    overlapping = f'<p class="overlapping">Overlapping: {markup.overlapping}</p>'
    return _FRAGMENT.format(
        style=FRAGMENT_STYLE,
        content=f"""<p class="summary">{markup.summary}</p>
<section class="text" lang="">
{markup.text}
{overlapping if markup.overlapping else ""}
</section>
{markup.cards}
{f"<footer>{_HINT} {escape(LEGEND)}</footer>" if links else ""}""",
    )


def render_message(message: str) -> str:
    """Writes a plain text as a fragment that screen readers announce."""
    return _FRAGMENT.format(
        style=FRAGMENT_STYLE, content=f'<p class="message" role="alert" dir="auto">{escape(message)}</p>'
    )


_HINT = "Point at a mention, or press it, to see its candidates."

_FRAGMENT = """<div class="entity-links">
<style>
{style}</style>
{content}
</div>
"""

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
