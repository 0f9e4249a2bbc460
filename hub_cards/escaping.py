"""The one place where text from data becomes part of a card.

Titles, worlds, names of data sets and values of arguments may hold anything. `plain_line` makes one clean line of
such a text; `as_markdown` is what the template engine puts every value through, so that no template can forget it;
`python_string` writes a text into a usage snippet. Characters that mean something to Markdown, HTML or the formulas
that the Hub renders become numeric character references, which all of them show as the character itself.
"""

import re
from typing import Any

from markupsafe import Markup

LONGEST = 200  # characters of a value that a card shows

# Control characters, lone surrogates, what is no character at all, and what turns the direction of the text after it.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\u202a-\u202e\u2066-\u2069\ufeff\ufffe\uffff]")
# A dash, a full stop and the like mean something at the start of a line alone, where no template puts a value; an
# underscore inside a word means nothing, and names of arguments stay readable in the file.
_SPECIAL = re.compile(
    r"""[!"#$&*:<>@\[\\\]^`{|}~] | (?<![0-9A-Za-z])_ | _(?![0-9A-Za-z]) | (?<=www)\.""",
    re.VERBOSE | re.IGNORECASE,
)


def plain_line(value: Any, longest: int = LONGEST) -> str:
    """A value as one line of clean text, cut to `longest` characters; a text of blanks gives "(blank)"."""
    spaced = " ".join(str(value).split())
    line = _UNPRINTABLE.sub("\ufffd", spaced).strip() or "(blank)"
    return line if len(line) <= longest else line[: longest - 1].rstrip() + "…"


def as_markdown(value: Any) -> Markup:
    """A value as Markdown that shows just its text, on one line; what templates made is let through.

    Raises:
        ValueError: there is no value (None).
    """
    if isinstance(value, Markup):
        return value
    if value is None:
        raise ValueError("expected a value for every place of a card's template, got None")
    return Markup(_SPECIAL.sub(_reference, plain_line(value)))


def python_string(text: str) -> Markup:
    """A text as a Python literal that is safe inside a fenced code block: printable characters, on one line."""
    return Markup('"' + "".join(map(_literal, text)) + '"')


def _reference(match: re.Match[str]) -> str:
    return f"&#{ord(match[0])};"


def _literal(character: str) -> str:
    if character == '"':
        return '\\"'
    if character.isprintable() and character not in "\\`$":
        return character
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
