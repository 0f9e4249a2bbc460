"""Cards as files: README.md, loss curves and `.eval_results`, from `card_data` and the templates.

The template engine puts every value through `as_markdown` (its `finalize` hook), so a template cannot insert a text
of data unescaped; a name that a template uses and no card has is an error, not a gap. Usage snippets take only Hub
names, whose letters are checked, and Python literals.
"""

import html
import math
import re
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from hf_blink.hub_cards.card_data import Card, LinkerCard, ModelCardFacts
from hf_blink.hub_cards.card_parts import TrainingFacts
from hf_blink.hub_cards.escaping import as_markdown, python_string
from hf_blink.hub_cards.evaluation import benchmark_files, result_table
from hf_blink.hub_cards.fields import PLACEHOLDER
from hf_blink.hub_cards.loss_curve import loss_curve_svg
from hf_blink.hub_cards.metadata import card_metadata

CARD_FILE = "README.md"
MOST_WORLDS = 20  # rows of worlds on a knowledge base's card
_EXAMPLE_LENGTH = 300
_PYTHON_BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def render_card(card: Card) -> str:
    """The README.md of a repository.

    Args:
        card: its facts, an object of `card_data`.

    Returns:
        Metadata and Markdown text; `huggingface_hub.ModelCard` (of a knowledge base: `DatasetCard`) reads it.

    Raises:
        ValueError: a text of the facts is a placeholder.
    """
    body = template_environment().get_template(card.template).render(**_values(card))
    tidy = re.sub(r"\n{3,}", "\n\n", body).strip()
    if PLACEHOLDER.search(html.unescape(tidy)):
        raise ValueError(f"{type(card).__name__}: expected no placeholder among names and values, got one")
    return f"---\n{card_metadata(card).to_yaml()}\n---\n\n{tidy}\n"


def card_files(card: Card) -> dict[str, str]:
    """Everything that a card needs in its repository: path to text (README.md, pictures, `.eval_results/*.yaml`)."""
    return {CARD_FILE: render_card(card), **_pictures(card), **eval_results_files(card)}


def eval_results_files(card: Card) -> dict[str, str]:
    """The `.eval_results/*.yaml` of a card, path to text; empty without evaluations on registered benchmarks."""
    return benchmark_files(card.evaluations) if isinstance(card, ModelCardFacts) else {}


def python_blocks(text: str) -> list[str]:
    """The Python code blocks of a card, in order; each runs by itself."""
    return _PYTHON_BLOCK.findall(text)


def _runs(card: Card) -> tuple[TrainingFacts, ...]:
    return (card.training or ()) if isinstance(card, ModelCardFacts) else ()


def _pictures(card: Card) -> dict[str, str]:
    runs = enumerate(_runs(card), start=1)
    return {
        _picture(number): loss_curve_svg(run.losses, run.recalls)
        for number, run in runs
        if len(run.losses) > 1
    }


def _picture(run_number: int) -> str:
    """File name of a run's loss curve; runs count from 1."""
    return f"loss_curve_{run_number}.svg"


@cache
def template_environment() -> jinja2.Environment:
    """The template engine with the rules that the module's text tells."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        undefined=jinja2.StrictUndefined,
        autoescape=True,  # makes macros give Markup, which `finalize` tells from data
        finalize=as_markdown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(percent=_percent, grouped="{:,}".format, bytes=_bytes, short="{:.4g}".format)
    return environment


def _values(card: Card) -> dict[str, Any]:
    values: dict[str, Any] = {
        "card": card,
        "name": card.repo_id.rpartition("/")[2],
        "repo": Markup(f'"{card.repo_id}"'),  # in code: letters, digits, and - _ . / alone
        "quoted": lambda hub_name: Markup(f'"{hub_name}"'),
        "as_is": Markup,
        "most_worlds": MOST_WORLDS,
    }
    if isinstance(card, ModelCardFacts):
        values["tables"] = [(evaluation, result_table(evaluation.metrics)) for evaluation in card.evaluations]
        values["picture"] = _picture
    if isinstance(card, LinkerCard):
        values["example"] = python_string(card.example_text[:_EXAMPLE_LENGTH])
    return values


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f}"


def _bytes(count: float) -> str:
    power = min(int(math.log10(max(count, 1))) // 3, 4)
    return f"{round(count / 1000**power, 1):g} {('bytes', 'kB', 'MB', 'GB', 'TB')[power]}"
