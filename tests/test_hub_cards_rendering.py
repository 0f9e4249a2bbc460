"""Cards are read with a CommonMark parser, so that what counts is what a page would show."""

import random
import re
from functools import cache

import jinja2
import pytest
import yaml
from huggingface_hub import DatasetCard, ModelCard
from huggingface_hub.repocard_data import model_index_to_eval_results
from markdown_it import MarkdownIt

from hf_blink.hub_cards.card_data import Card, IndexCard, KnowledgeBaseCard, LinkerCard
from hf_blink.hub_cards.escaping import plain_line
from hf_blink.hub_cards.evaluation import Evaluation
from hf_blink.hub_cards.rendering import (
    card_files,
    eval_results_files,
    python_blocks,
    render_card,
    template_environment,
)
from tests.hub_cards_examples import KINDS, REPO, facts, metrics, training_run

PARSER = MarkdownIt("commonmark").enable(["table", "strikethrough"])
NASTY = (
    "a|b", "two\nlines", "a\n\n# heading", "<script>alert(1)</script>", "<!-- -->", "[x](javascript:alert(1))",
    "](javascript:alert(1))", "![x](https://evil.example/x.png)", "`code`", "```", "~~~", "---", "\n---\n", "***",
    "**bold**", "_under_", "~~gone~~", "{{ 7*7 }}", "{% for x in y %}", "{# gone #}", "# heading", "- item", "1. item",
    "> quote", "+ item", "    indented", "\\", "\\|", r"\(x^2\)", "$$x$$", "&amp;&lt;", "&#124;", "[^1]", "[ref]: /url",
    "https://evil.example", "<https://evil.example>", "me@evil.example", "שלום", "\u202eabc", "👩‍💻", "\x00\x07", "\ud800",
    "key: [1, 2]", "!!python/object:os.system", "*anchor", "'single' \"double\"", "%TAG", "null", "1e5", "- - -",
    "x" * 5000, "| | |", "</td></tr>", "=====", ":smile:", "a\u2028b", "\u200f", "NaN", "-" * 80, "closed #",
)  # fmt: skip


def mixed(count: int) -> list[str]:
    """Random mixtures of the nasty texts, always the same ones."""
    chance = random.Random(0)
    return [
        "".join(chance.choices([*NASTY[:-1], " ", "\n", "word"], k=chance.randint(2, 6)))
        for _ in range(count)
    ]


def card(kind: type[Card], text: str = "plain words", **changes) -> Card:
    return kind.from_dict({**facts(kind, text), **changes})


def body(text: str) -> str:
    return ModelCard(text).text


def outline(text: str) -> list[tuple]:
    """All that is not text: elements in order, with the targets of links and pictures."""
    flat = (part for token in PARSER.parse(body(text)) for part in (token, *(token.children or ())))
    return [
        (token.type, token.tag, token.info, *(token.attrs.get(name) for name in ("href", "src")))
        for token in flat
        if token.type != "text"
    ]


def shown(text: str) -> str:
    """The text that a page shows outside code blocks, with the cells of a table each on a line."""
    return "\n".join(
        "".join(part.content for part in token.children or () if part.type == "text")
        for token in PARSER.parse(body(text))
        if token.type == "inline"
    )


@pytest.mark.parametrize("kind", KINDS)
def test_card_is_complete(kind):
    text = render_card(card(kind))
    headings = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert headings[0] == "How to use it" and headings[-1] == "Licence" and "Limits" in headings
    assert "NIL" in text and text.count(REPO) >= 1
    assert not re.search(r"\{\{|\{%|\{#|undefined|\bNone\b|More Information", body(text))
    assert "html_block" not in str(outline(text)) and "html_inline" not in str(outline(text))
    assert "\n\n\n" not in text and text.endswith("\n") and not re.search(r"[ \t]$", text, re.MULTILINE)


@pytest.mark.parametrize("kind", KINDS)
def test_no_text_of_data_changes_the_structure(kind):
    plain = render_card(card(kind))
    expected, known = outline(plain), ModelCard(plain).data.to_dict()
    for text in mixed(8):
        rendered = render_card(card(kind, text))
        assert outline(rendered) == expected, repr(text)
        assert set(ModelCard(rendered).data.to_dict()) == set(known), repr(text)


@cache
def all_texts(texts: tuple[str, ...]) -> list[str]:
    """Cards that show each of the texts in every kind of place: headings, sentences, list items, cells."""
    runs = [{**training_run(text), "losses": []} for text in texts]
    counts = {"num_mentions": 1, "num_entities": 1, "mrr": 0.5}
    evaluations = [
        {"mentions": {"name": f"{text}{n}"}, "metrics": {**counts, f"world/{text}/mrr": 0.5}, "split": text}
        for n, text in enumerate(texts)
    ]
    examples = [{"entity_id": text, "title": text, "description": text} for text in texts]
    entities = {**facts(KnowledgeBaseCard)["knowledge_base"], "worlds": dict.fromkeys(texts[:20], 1)}
    return [
        render_card(card(LinkerCard, training=runs, evaluations=evaluations)),
        render_card(card(KnowledgeBaseCard, examples=examples, knowledge_base=entities)),
    ]


def test_no_nasty_text_changes_the_structure():
    plain = all_texts(tuple(f"plain {n}" for n in range(len(NASTY))))
    for nasty, simple in zip(all_texts(NASTY), plain, strict=True):
        assert outline(nasty) == outline(simple)


def test_texts_of_data_are_shown_as_they_are():
    linker, entities = map(shown, all_texts(NASTY))
    for text in NASTY:
        line = plain_line(text)
        assert f"\n{line}\n{line}\n" in linker, repr(text)  # an argument and its value
        assert f"\n{line}\n{line}\n{line}\n" in entities, repr(text)  # id, title and description


def test_texts_of_data_are_values_in_the_metadata():
    data = yaml.safe_load(all_texts(NASTY)[0].split("\n---\n")[0])
    results = [result["dataset"] for result in data["model-index"][0]["results"]]
    assert [result["split"] for result in results] == [plain_line(text) for text in NASTY]
    assert [result["name"] for result in results] == [
        plain_line(f"{text}{n}") for n, text in enumerate(NASTY)
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_huggingface_hub_reads_and_writes_the_same_card(kind):
    text = render_card(card(kind, "a|b: ---"))
    reader = DatasetCard if kind is KnowledgeBaseCard else ModelCard
    assert str(reader(text)) == text
    assert reader(str(reader(text))).data.to_dict() == reader(text).data.to_dict()


def test_metrics_are_read_back_from_the_model_index():
    text = render_card(card(LinkerCard))
    name, results = model_index_to_eval_results(yaml.safe_load(text.split("---\n")[1])["model-index"])
    assert name == "my-linker_1.0"
    assert {result.metric_type: result.metric_value for result in results} == Evaluation.from_dict(
        {"mentions": {"name": "x"}, "metrics": metrics()}
    ).overall()
    assert ModelCard(text).data.get("eval_results") == results


def test_tables_show_arguments_and_metrics():
    page = shown(render_card(card(LinkerCard)))
    assert "\nlearning_rate\n0.0001\n" in page
    assert "\nall mentions (micro)\n5,426\n74.0\n99.1\n80.0\n76.9\n76.2\n" in page
    assert "\nmean of the worlds (macro)\n–\n37.0\n" in page
    assert "\nsize\n546.9 kB (1.5 kB an entity)\n" in page


def test_worlds_that_are_not_shown_are_counted():
    many = {f"world{n}": n + 1 for n in range(23)}
    evaluation = {"mentions": {"name": "x"}, "metrics": metrics(*many)}
    assert "\n3 worlds with fewer mentions are not shown" in shown(
        render_card(card(LinkerCard, evaluations=[evaluation]))
    )
    entities = {**facts(KnowledgeBaseCard)["knowledge_base"], "worlds": many}
    page = shown(render_card(card(KnowledgeBaseCard, knowledge_base=entities)))
    assert "\nworld22\n23\nworld21\n22\n" in page and "\nworld2\n" not in page
    assert "\n3 smaller worlds are not shown." in page


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"training": None}, "The training runs are not recorded"),
        ({"training": []}, "Not at all on mentions"),
        ({"evaluations": []}, "No results were recorded"),
        ({"threshold": 0.25}, "Links with a score under 0.25 are dropped."),
        ({"threshold": 0}, "The threshold of this linker is 0"),
        ({"calibrated": True}, "is a probability that was fitted"),
        ({"calibrated": False}, "is a softmax over the 16 candidates of a mention"),
        ({"entity_length": 48}, "are cut at 48 tokens together"),
        ({"license": "unknown"}, "The authors of this repository name no licence."),
    ],
)
def test_text_says_what_the_facts_are(changes, words):
    text = render_card(card(LinkerCard, **changes)).replace("`", "")
    assert words in text


def test_own_licence_is_linked():
    licence = {"license": "other", "license_name": "my [own]", "license_link": "https://example.org/a_b"}
    text = render_card(card(IndexCard, **licence))
    assert ("link_open", "a", "", "https://example.org/a_b", None) in outline(text)
    assert "my [own]" in shown(text)


def test_a_placeholder_among_names_is_refused():
    with pytest.raises(
        ValueError, match="LinkerCard: expected no placeholder among names and values, got one"
    ):
        render_card(
            card(LinkerCard, training=[{**training_run(), "arguments": {"a": "[More Information Needed]"}}])
        )


def test_files_are_the_card_its_pictures_and_benchmark_results():
    evaluation = {
        "mentions": {"name": "x"},
        "metrics": metrics(),
        "benchmark": {"dataset_id": "org/b", "task_id": "t"},
    }
    runs = [training_run(), {**training_run(), "losses": []}, training_run()]
    files = card_files(card(LinkerCard, training=runs, evaluations=[evaluation]))
    assert set(files) == {"README.md", "loss_curve_1.svg", "loss_curve_3.svg", ".eval_results/org_b.yaml"}
    assert eval_results_files(card(LinkerCard, evaluations=[evaluation])).keys() == {
        ".eval_results/org_b.yaml"
    }
    pictures = [element[4] for element in outline(files["README.md"]) if element[0] == "image"]
    assert pictures == ["./loss_curve_1.svg", "./loss_curve_3.svg"]
    assert files["README.md"].count("![Loss and recall by step](") == 2
    assert (
        set(card_files(card(KnowledgeBaseCard))) == {"README.md"}
        and eval_results_files(card(IndexCard)) == {}
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("text", ["plain words", '"', "\n```\n", "\\"])
def test_snippets_are_python(kind, text):
    blocks = python_blocks(render_card(card(kind, text)))
    fences = [element for element in outline(render_card(card(kind, text))) if element[0] == "fence"]
    assert len(blocks) == len(fences) >= 1
    for block in blocks:
        compile(block, "card", "exec")


@pytest.mark.parametrize("template", ["{{ nothing }}", "{{ card.nothing }}", "{% if nothing %}x{% endif %}"])
def test_a_name_that_no_card_has_is_an_error(template):
    with pytest.raises(jinja2.UndefinedError, match="nothing"):
        template_environment().from_string(template).render(card=card(LinkerCard))
