"""The pieces alone; tests/test_link_page.py reads what they look like in a page and in a fragment."""

from dataclasses import replace

import pytest

from hf_blink.link_markup import escape, mark_up
from hf_blink.modeling.linking_types import Candidate, Entity, EntityLink, Mention

PARIS, TEXAS, ULM = Entity("Q90", "Paris"), Entity("Q830149", "Paris, Texas"), Entity("Q3012", "Ulm")
TEXT = "Old Paris."


def link(start: int, end: int) -> EntityLink:
    candidates = tuple(Candidate(entity, 0.5, None, 0.3) for entity in (PARIS, TEXAS, ULM))
    return EntityLink(Mention(start, end, TEXT[start:end]), PARIS, 0.3, False, 0.5, None, candidates)


def test_mark_up_gives_links_to_open_cards_or_buttons_of_hidden_ones():
    links = mark_up(TEXT, [link(4, 9)], max_runners_up=1)
    assert links.text.startswith('<p dir="auto">Old <a class="mention c0" href="#link-1"><mark>Paris</mark>')
    assert links.cards.startswith('<article class="card c0" id="link-1">')
    buttons = mark_up(TEXT, [link(4, 9)], max_runners_up=1, popovers=True)
    assert '<button type="button" class="mention c0" popovertarget="link-1"' in buttons.text
    assert buttons.cards.startswith('<article class="card c0" id="link-1" popover>')


def test_a_runner_up_of_a_found_mention_is_shown_with_its_joint_probability():
    found = replace(link(4, 9), score=0.15, mention_score=0.5)
    shown = mark_up(TEXT, [found], max_runners_up=1).cards
    assert shown.count("15.0%</span>") == 2 and "30.0%" not in shown


@pytest.mark.parametrize(("most", "shown"), [(0, []), (1, ["Q830149"]), (9, ["Q830149", "Q3012"])])
def test_mark_up_shows_as_many_runners_up_as_asked(most, shown):
    cards = mark_up(TEXT, [link(4, 9)], max_runners_up=most).cards
    assert [entity_id for entity_id in ("Q830149", "Q3012") if entity_id in cards] == shown
    assert ("<ol" in cards) == bool(shown)


def test_mark_up_sets_overlapping_mentions_apart():
    markup = mark_up(TEXT, [link(4, 9), link(0, 9)], max_runners_up=0)
    assert "<mark>Old Paris</mark>" in markup.text and "<mark>Paris</mark>" not in markup.text
    assert markup.overlapping.count("<mark>Paris</mark>") == 1
    assert markup.summary == "2 mentions · 1 entity"
    assert mark_up(TEXT, [], max_runners_up=0).overlapping == ""


def test_escape_keeps_text_out_of_tags_attributes_and_what_no_page_may_hold():
    assert escape("""<a b='c' d="e">&\x00""") == "&lt;a b=&#x27;c&#x27; d=&quot;e&quot;&gt;&amp;\ufffd"
