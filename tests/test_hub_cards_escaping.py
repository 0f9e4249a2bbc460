import ast
import html

import pytest
from markupsafe import Markup

from hf_blink.hub_cards.escaping import LONGEST, as_markdown, plain_line, python_string


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("  two\n\n lines\t", "two lines"),
        ("a\r\n---\u2028b", "a --- b"),
        ("\x00\x1b[31m", "\ufffd\ufffd[31m"),
        ("abc\u202edef", "abc\ufffddef"),  # would turn the direction of what follows
        ("\ud800", "\ufffd"),
        ("שלום 👩‍💻", "שלום 👩‍💻"),
        (" \n", "(blank)"),
        ("", "(blank)"),
        (0.0001, "0.0001"),
    ],
)
def test_plain_line_is_one_line_of_printable_text(text, line):
    assert plain_line(text) == line


def test_plain_line_cuts_what_is_too_long():
    assert plain_line("x" * LONGEST) == "x" * LONGEST
    assert plain_line("x" * (LONGEST + 1)) == "x" * (LONGEST - 1) + "…"
    assert plain_line("one two three", longest=9) == "one two…"


@pytest.mark.parametrize(
    ("text", "markdown"),
    [
        ("per_device_train_batch_size", "per_device_train_batch_size"),
        ("1e-05, all-MiniLM-L6-v2 (1.5)", "1e-05, all-MiniLM-L6-v2 (1.5)"),
        ("_a_", "&#95;a&#95;"),
        ("a|b", "a&#124;b"),
        ("<b>", "&#60;b&#62;"),
        ("&amp;", "&#38;amp;"),
        (r"\(x\)", "&#92;(x&#92;)"),
        ("$$x$$", "&#36;&#36;x&#36;&#36;"),
        ("https://x.y", "https&#58;//x.y"),
        ("www.x.y", "www&#46;x.y"),
    ],
)
def test_as_markdown_replaces_what_means_something(text, markdown):
    assert as_markdown(text) == markdown
    assert html.unescape(as_markdown(text)) == text


@pytest.mark.parametrize("character", '!"#$&*:<>@[\\]^`{|}~')
def test_as_markdown_replaces_every_special_character(character):
    assert as_markdown(f"a{character}b") == f"a&#{ord(character)};b"


def test_as_markdown_lets_templates_through_and_refuses_none():
    assert as_markdown(Markup("**a**")) == "**a**"
    with pytest.raises(ValueError, match="expected a value for every place .* got None"):
        as_markdown(None)


@pytest.mark.parametrize(
    "text", ['say "hi"', r"a\(b\) $$ `c` {{ 7*7 }}", "é 日本 👍", "\n```\n", "\u202e\x00\U0001f1e9", "'"]
)
def test_python_string_is_a_literal_of_the_text_on_one_line(text):
    literal = python_string(text)
    assert ast.literal_eval(literal) == text
    assert (
        len(literal.splitlines()) == 1 and "`" not in literal and "$" not in literal and r"\(" not in literal
    )
    assert literal.isprintable()


def test_python_string_keeps_readable_letters():
    assert python_string('Zürich: 東京 "x"') == '"Zürich: 東京 \\"x\\""'
