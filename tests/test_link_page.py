from html.parser import HTMLParser

import pytest

from hf_blink.link_markup import DESCRIPTION_LENGTH, LABEL_LENGTH
from hf_blink.link_page import render_fragment, render_message, render_page
from hf_blink.modeling.linking_types import Candidate, Entity, EntityLink, Mention

PARIS = Entity("Q90", "Paris", "Capital of France.")
TEXAS = Entity("Q830149", "Paris, Texas", "Seat of Lamar County.")
VOID_TAGS = {"meta"}


class Outline(HTMLParser):
    """Checks that tags close in order and collects what a reader sees."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[tuple[str, str]] = []
        self.tags: list[str] = []
        self.paragraphs: list[str] = []
        self.highlights: list[tuple[str, str]] = []  # class of the highlight, marked text
        self.labels: list[str] = []
        self.cards: list[str] = []

    def handle_starttag(self, tag, attrs):
        assert len(attrs) == len(dict(attrs)), f"repeated attribute in {tag}"
        assert not any(name.startswith("on") or name in ("src", "srcset") for name, _ in attrs)
        self.tags.append(tag)
        classes = dict(attrs).get("class") or ""
        if tag == "p" and any(name == "text" for _, name in self.open):
            self.paragraphs.append("")
        elif tag == "mark":
            self.highlights.append((self.open[-1][1].split()[1], ""))
        elif classes == "label":
            self.labels.append("")
        elif tag == "article":
            self.cards.append("")
        if tag not in VOID_TAGS:
            self.open.append((tag, classes))

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag

    def handle_data(self, data):
        names = {tag for tag, _ in self.open} | {classes for _, classes in self.open}
        if "label" in names:
            self.labels[-1] += data
        elif "article" in names:
            self.cards[-1] += data
        elif "text" in names and "p" in names:
            self.paragraphs[-1] += data
            if "mark" in names:
                colour, marked = self.highlights[-1]
                self.highlights[-1] = (colour, marked + data)


def read(page: str) -> Outline:
    assert page.startswith("<!DOCTYPE html>\n")
    return read_fragment(page)


def read_fragment(fragment: str) -> Outline:
    outline = Outline()
    outline.feed(fragment)
    outline.close()
    assert outline.open == []
    assert not {"script", "link", "img", "iframe"} & set(outline.tags)
    return outline


def link(
    text: str, words: str, entity: Entity | None, *others: Entity, start: int | None = None
) -> EntityLink:
    """A link of the first place of `words`; candidates get 0.9, 0.05, 0.05, … and raw scores by rank."""
    first = text.index(words) if start is None else start
    found = ((entity,) if entity else ()) + others
    candidates = tuple(
        Candidate(each, 0.75 - rank / 10, 4.5 - 5 * rank, 0.05 if rank else 0.9)
        for rank, each in enumerate(found)
    )
    mention = Mention(first, first + len(words), words)
    if not candidates:
        return EntityLink(mention, None, 0.0, True, None, None)
    best = candidates[0]
    return EntityLink(
        mention, entity, best.score, entity is None, best.retrieval_score, best.rerank_score, candidates
    )


def test_render_page_highlights_mentions_and_keeps_paragraphs():
    text = "In Paris it\nrains.\n\nIn Ulm, not.\r\n \r\n\r\nEnd.\n"
    ulm = Entity("Q3012", "Ulm")
    outline = read(render_page(text, [link(text, "Ulm", ulm), link(text, "Paris", TEXAS)]))
    assert outline.paragraphs == ["In Paris it\nrains.", "In Ulm, not.", "End."]
    assert outline.highlights == [("c0", "Paris"), ("c1", "Ulm")]
    assert outline.labels == ["1 Paris, Texas", "2 Ulm Q3012"]  # the id where the title says nothing new


def test_render_page_gives_an_entity_one_colour_and_reuses_the_palette_after_eight():
    text = "Paris a b c d e f g h Paris"
    links = [link(text, name, Entity(name, name), start=6 + 2 * n) for n, name in enumerate("abcdefgh")]
    links += [link(text, "Paris", PARIS), link(text, "Paris", PARIS, start=22)]
    page = render_page(text, links)
    colours = [colour for colour, _ in read(page).highlights]
    assert colours == ["c0", "c1", "c2", "c3", "c4", "c5", "c6", "c7", "c0", "c0"]
    assert ".c7 { --colour: #" in page and ".c8 {" not in page
    assert "10 mentions · 9 entities<" in page


def test_render_page_writes_a_card_with_scores_and_three_runners_up():
    text = "In Paris."
    others = [TEXAS, *(Entity(f"X{n}", f"Paris {n}") for n in range(3))]
    page = render_page(text, [link(text, "Paris", PARIS, *others)])
    (card,) = read(page).cards
    assert " ".join(card.split()) == (
        "1 Paris Paris Q90 Capital of France. 90.0% retrieval 0.750 rerank +4.50 "
        "Paris, Texas Q830149 Seat of Lamar County. 5.0% retrieval 0.650 rerank −0.50 "
        "Paris 0 X0 5.0% retrieval 0.550 rerank −5.50 Paris 1 X1 5.0% retrieval 0.450 rerank −10.50"
    )
    assert '<i style="width: 90.0%"></i>' in page
    assert 'id="link-1"' in page and 'href="#link-1"' in page


def test_render_page_shows_a_dash_where_there_is_no_raw_score():
    paris = EntityLink(Mention(0, 5, "Paris"), PARIS, 1.0000001, False, 0.5, None)
    page = render_page("Paris", [paris])
    assert "retrieval 0.500 rerank –" in read(page).cards[0]
    assert "width: 100.0%" in page


def test_render_page_greys_nil_and_lists_its_best_candidates():
    text = "Bob met Al in Paris."
    links = [link(text, "Bob", None, TEXAS, PARIS), link(text, "Al", None), link(text, "Paris", PARIS)]
    page = render_page(text, links)
    outline = read(page)
    assert outline.highlights == [("nil", "Bob"), ("nil", "Al"), ("c0", "Paris")]
    assert outline.labels[:2] == ["1 NIL", "2 NIL"]
    assert "the best has:" in outline.cards[0]
    assert outline.cards[0].index("Paris, Texas") < outline.cards[0].index("Q90")
    assert "There is no candidate." in outline.cards[1]
    assert "3 mentions · 1 entity · 2 not in the knowledge base" in page


@pytest.mark.parametrize("reverse", [False, True])
def test_render_page_highlights_the_earlier_then_the_longer_of_overlapping_mentions(reverse):
    text = "The New York City Ballet in Paris"
    names = ["New York", "New York City", "York City Ballet", "Ballet", "Paris"]
    links = [link(text, name, Entity(name.lower(), name)) for name in names]
    outline = read(render_page(text, links[::-1] if reverse else links))
    assert outline.paragraphs == [text]
    assert [marked for _, marked in outline.highlights] == ["New York City", "Ballet", "Paris"]
    inside = "overlaps another mention"
    assert [card.split("\n")[1] for card in outline.cards] == [
        "1 New York City",
        f"2 New York {inside}",
        f"3 York City Ballet {inside}",
        "4 Ballet",
        "5 Paris",
    ]


def test_render_page_of_two_links_at_one_place_has_two_cards():
    outline = read(render_page("Paris", [link("Paris", "Paris", PARIS), link("Paris", "Paris", TEXAS)]))
    assert outline.highlights == [("c0", "Paris")]
    assert len(outline.cards) == 2


def test_render_page_escapes_everything_that_comes_from_data():
    evil = """<script>alert('x')</script>"&amp;{0}"""
    entity = Entity(evil, evil, evil)
    text = f"a & b {evil} c"
    page = render_page(
        text, [link(text, evil, entity, Entity(evil + "2", evil, evil))], title=evil, note=evil
    )
    outline = read(page)
    assert outline.paragraphs == [text]
    assert outline.highlights == [("c0", evil)]
    assert outline.cards[0].count(evil) == 7
    assert "<script" not in page and page.count("&lt;script&gt;alert(&#x27;x&#x27;)") == page.count("alert(")


@pytest.mark.parametrize("before", ["👩‍🚀 🇫🇷 ", "Ünïcödé e\u0301 ", "東京、", "שלום "])
def test_render_page_counts_offsets_in_characters(before):
    text = f"{before}Zürich 🏔️, oui."
    outline = read(render_page(text, [link(text, "Zürich 🏔️", PARIS)]))
    assert outline.paragraphs == [text]
    assert outline.highlights == [("c0", "Zürich 🏔️")]


def test_render_page_replaces_characters_that_html_cannot_hold():
    page = render_page("a\x00b\ud800c\x1b Paris", [link("a\x00b\ud800c\x1b Paris", "Paris", PARIS)])
    assert read(page).paragraphs == ["a\ufffdb\ufffdc\ufffd Paris"]
    page.encode("utf-8")


@pytest.mark.parametrize(
    ("description", "shown"),
    [
        ("word " * 40, "word " * 31 + "word…"),
        ("語" * 200, "語" * (DESCRIPTION_LENGTH - 1) + "…"),
        ("x" * DESCRIPTION_LENGTH, "x" * DESCRIPTION_LENGTH),
        ("two\n\nlines", "two lines"),
    ],
)
def test_render_page_shortens_descriptions(description, shown):
    assert len(shown) <= DESCRIPTION_LENGTH
    outline = read(render_page("Paris", [link("Paris", "Paris", Entity("Q1", "T", description))]))
    assert outline.cards[0].split("Q1\n")[1].split("\n")[0] == shown


def test_render_page_shortens_long_labels_but_not_the_title_of_the_card():
    title = "Q" * (2 * LABEL_LENGTH)
    outline = read(render_page("Paris", [link("Paris", "Paris", Entity("Q1", title))]))
    assert outline.labels == ["1 " + "Q" * (LABEL_LENGTH - 1) + "…"]
    assert title in outline.cards[0]


@pytest.mark.parametrize("text", ["Nobody here.", "", "\n\n"])
def test_render_page_without_links_says_so(text):
    page = render_page(text, [], title="Report", note="A note.")
    outline = read(page)
    assert "no mentions found" in page and "<title>Report</title>" in page and "A note." in page
    assert outline.cards == []
    assert outline.paragraphs == ([text] if text.strip() else [])


def test_render_page_loads_nothing():
    page = render_page("Paris", [link("Paris", "Paris", PARIS)])
    assert "http://" not in page and "https://" not in page and "url(" not in page and "@import" not in page
    assert "default-src 'none'" in page
    assert "prefers-color-scheme: dark" in page and "@media print" in page


@pytest.mark.parametrize(
    "mention", [Mention(3, 8, "Paris"), Mention(0, 9, "Paris"), Mention(90, 95, "Paris")]
)
def test_render_page_refuses_links_of_another_text(mention):
    other = EntityLink(mention, PARIS, 0.5, False, 0.1, None)
    with pytest.raises(
        ValueError, match=r"expected the mention 'Paris' at characters .* got .* pass the text"
    ):
        render_page("Paris in May", [other])


def test_render_fragment_is_one_element_with_its_own_style_and_buttons_that_open_cards():
    text = "In Paris.\n\nPage two."
    others = [TEXAS, *(Entity(f"X{n}", f"Paris {n}") for n in range(6))]
    fragment = render_fragment(text, [link(text, "Paris", PARIS, *others)])
    outline = read_fragment(fragment)
    assert outline.tags[:2] == ["div", "style"] and fragment.startswith('<div class="entity-links">')
    assert not {"html", "head", "body", "main", "h1", "a"} & set(outline.tags)
    assert outline.paragraphs == ["In Paris.", "Page two."]
    assert outline.highlights == [("c0", "Paris")] and outline.labels == ["1 Paris Q90"]
    assert (
        'popovertarget="link-1"' in fragment and '<article class="card c0" id="link-1" popover>' in fragment
    )
    (card,) = outline.cards
    assert "Capital of France." in card and "90.0%" in card and "retrieval 0.750 rerank +4.50" in card
    assert all(each.entity_id in card for each in others), "a card shows all candidates"
    assert "1 mention · 1 entity" in fragment and "to see its candidates" in fragment


def test_render_fragment_has_a_button_for_mentions_that_overlap():
    text = "The New York City Ballet"
    links = [
        link(text, name, Entity(name.lower(), name)) for name in ("New York City", "York", "City Ballet")
    ]
    outline = read_fragment(render_fragment(text, links))
    assert outline.paragraphs == [text, "Overlapping: York City Ballet"]
    assert outline.labels == ["1 New York City new york city", "2 York york", "3 City Ballet city ballet"]
    assert len(outline.cards) == 3


def test_render_fragment_without_links_says_so():
    fragment = render_fragment("Nobody here.", [])
    outline = read_fragment(fragment)
    assert "no mentions found" in fragment and "to see its candidates" not in fragment
    assert outline.paragraphs == ["Nobody here."] and outline.cards == []


def test_render_fragment_escapes_everything_that_comes_from_data():
    evil = """<script>alert('x')</script>"&amp;{0}"""
    fragment = render_fragment(f"a {evil}", [link(f"a {evil}", evil, Entity(evil, evil, evil), TEXAS)])
    outline = read_fragment(fragment)
    assert outline.highlights == [("c0", evil)] and outline.cards[0].count(evil) == 4
    assert fragment.count("&lt;script&gt;alert(&#x27;x&#x27;)") == fragment.count("alert(")


def test_render_message_is_escaped_and_announced():
    message = render_message("a <b> & c")
    read_fragment(message)
    assert 'role="alert" dir="auto">a &lt;b&gt; &amp; c</p>' in message
