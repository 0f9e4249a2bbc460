"""The demo's parts, and the demo itself in a real browser."""

import os
import re
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hf_blink.demo_app import (
    ALL_WORLDS,
    MAX_CHARACTERS,
    create_demo,
    describe,
    hint,
    import_gradio,
    launch,
    launch_options,
    linked_html,
)
from hf_blink.modeling.entity_linker import EntityLinker
from hf_blink.modeling.knowledge_base import KnowledgeBase
from hf_blink.modeling.modeling_blink_biencoder import BlinkBiEncoder
from hf_blink.modeling.modeling_blink_crossencoder import BlinkCrossEncoder
from hf_blink.training.arguments import BlinkTrainingArguments
from hf_blink.training.collators import BiEncoderCollator
from hf_blink.training.trainers import InBatchTrainer

ROOT = Path(__file__).resolve().parents[1]
EVIL = " <script>window.hacked = 1</script><img src=x onerror='hacked = 1'> ${window.hacked = 1} {{7*7}}"
TEXT = "The capital Paris of France. A town called Paris in Texas."
NOBODY = "Nobody is here."
# Starts a demo, and tells every other machine whose name is looked up or that is connected to.
LAUNCH = """
import os, sys

def watch(event, arguments):
    host = None
    if event == "socket.connect" and isinstance(arguments[1], tuple):
        host = arguments[1][0]
    elif event == "socket.getaddrinfo":
        host = arguments[0]
    if host not in (None, "127.0.0.1", "localhost", "::1"):
        print("ELSEWHERE", host, file=sys.stderr, flush=True)

sys.addaudithook(watch)
from hf_blink.demo_app import launch
print("PID", os.getpid(), flush=True)
launch(sys.argv[1], port=int(sys.argv[2]))
print("RETURNED", flush=True)
"""


@pytest.fixture(scope="module")
def trained(tiny_encoder, processor, entities, mentions, tmp_path_factory) -> EntityLinker:
    """A linker that has learnt the sentences of conftest, with worlds, a cross-encoder and a hostile description."""
    records = [
        {**record, "description": record["description"] + EVIL * (record["id"] == "paris-tx")}
        for record in entities
    ]
    knowledge_base = KnowledgeBase.from_entities(records)
    model = BlinkBiEncoder.from_encoder(tiny_encoder)
    arguments = BlinkTrainingArguments(
        str(tmp_path_factory.mktemp("run")), max_steps=40, learning_rate=2e-3, per_device_train_batch_size=8,
        use_cpu=True, disable_tqdm=True, seed=3, save_strategy="no", logging_strategy="no",
    )  # fmt: skip
    collator = BiEncoderCollator(processor, knowledge_base)
    InBatchTrainer(model, arguments, collator, mentions.select(range(7))).train()
    cross_encoder = BlinkCrossEncoder.from_encoder(tiny_encoder, pooling="pooler")
    cross_encoder.config.retrieval_weight = 1.0
    return EntityLinker.from_knowledge_base(
        knowledge_base, model, processor=processor, progress=False, cross_encoder=cross_encoder
    )


@pytest.fixture(scope="module")
def address(trained) -> Iterator[str]:
    """Where the demo of the trained linker runs."""
    reason = "the demo was not run: Gradio is not installed (pip install 'hf_blink[demo]')"
    pytest.importorskip("gradio", reason=reason)
    demo = create_demo(trained, title="Demo <b>of</b> links", examples=[TEXT, NOBODY])
    _, url, _ = demo.launch(prevent_thread_lock=True, quiet=True, **launch_options())
    yield url
    demo.close()


@pytest.fixture
def page(open_page, address):
    """The demo, open."""
    return open_page(address)


def link(page, text: str) -> None:
    page.get_by_label("Text, at most").fill(text)
    page.get_by_role("button", name="Link", exact=True).click()


def test_the_browser_shows_the_right_links_with_candidates_scores_and_descriptions(page, trained):
    link(page, TEXT)
    mentions = page.locator(".text .mention")
    mentions.nth(1).wait_for()
    assert mentions.locator("mark").all_inner_texts() == ["Paris", "Paris"]
    assert mentions.locator(".label").all_inner_texts() == ["1 Paris paris-fr", "2 Paris paris-tx"]
    assert page.locator(".summary").inner_text() == "2 mentions · 2 entities"
    card = page.locator("#link-1")
    assert not card.is_visible()
    mentions.first.click()
    card.wait_for(state="visible")
    (best, *others), top = trained.link(TEXT, top_k=4)[0].candidates, others_of(card)
    assert card.locator("h2").inner_text() == "Paris"
    assert card.locator("> .description").inner_text() == "The capital of France."
    assert card.locator("> .raw").inner_text().split() == [
        "retrieval", f"{best.retrieval_score:.3f}", "rerank", f"{best.rerank_score:+.2f}".replace("-", "−"),
    ]  # fmt: skip
    assert top == [other.entity.entity_id for other in others] and len(top) == 3
    assert all(other.entity.description[:20] in card.inner_text() for other in others)


def others_of(card) -> list[str]:
    return card.locator(".others .id").all_inner_texts()


def test_a_card_opens_under_the_pointer_and_from_the_keyboard_and_closes_with_escape(page):
    link(page, TEXT)
    page.locator(".mention").first.hover()
    page.locator("#link-1").wait_for(state="visible")
    page.mouse.move(0, 0)
    page.locator("#link-1").wait_for(state="hidden")
    page.locator(".mention").nth(1).focus()
    page.keyboard.press("Enter")
    page.locator("#link-2").wait_for(state="visible")
    page.keyboard.press("Escape")
    page.locator("#link-2").wait_for(state="hidden")


def test_a_card_stays_inside_a_narrow_window(open_page, address):
    page = open_page(address, viewport={"width": 390, "height": 700})
    link(page, f"{TEXT} {TEXT} {TEXT}")
    for number in (1, 4, 6):
        page.locator(".mention").nth(number - 1).click()
        card = page.locator(f"#link-{number}")
        card.wait_for(state="visible")
        box = card.bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= 390
        assert box["y"] >= 0 and box["y"] + box["height"] <= 700 and box["height"] > 150
        page.keyboard.press("Escape")
    assert page.evaluate("document.documentElement.scrollWidth") == 390


def test_texts_of_visitor_and_catalogue_stay_texts(page):
    text = f"The capital Paris{EVIL}. A town called Paris in Texas."
    link(page, text)
    page.locator(".mention").nth(1).click()
    card = page.locator("#link-2")
    card.wait_for(state="visible")
    assert EVIL.strip()[:60] in card.locator("> .description").inner_text()
    assert EVIL in page.locator(".text").inner_text()
    assert page.evaluate("window.hacked") is None
    assert page.locator(".entity-links :is(script, img)").count() == 0
    assert page.locator("h1").inner_text() == "Demo <b>of</b> links"


def test_options_choose_the_world_the_candidates_and_what_becomes_of_nil(page):
    page.get_by_role("button", name="Options").click()
    page.get_by_label("World").click()
    page.get_by_role("option", name="places").click()
    page.get_by_label("number input for Candidates shown").fill("6")
    link(page, TEXT)
    page.locator(".mention").first.click()
    assert others_of(page.locator("#link-1")) == ["paris-tx"]
    page.keyboard.press("Escape")
    page.get_by_label("number input for Threshold").fill("1")
    page.get_by_role("button", name="Link", exact=True).click()
    page.locator(".mention.nil").nth(1).wait_for()
    page.locator(".mention").first.click()
    assert "Not in the knowledge base" in page.locator("#link-1").inner_text()
    assert others_of(page.locator("#link-1")) == ["paris-fr", "paris-tx"]
    page.keyboard.press("Escape")
    page.get_by_label("Show mentions without entity").uncheck()
    page.get_by_role("button", name="Link", exact=True).click()
    page.get_by_text("no mentions found").wait_for()


def test_examples_are_linked_at_a_click_and_a_text_without_mentions_says_so(page):
    page.get_by_text(NOBODY).click()
    page.get_by_text("no mentions found").wait_for()
    assert page.locator(".text").inner_text() == NOBODY
    assert page.locator(".card").count() == 0


def test_wrong_input_is_told_in_the_page(page):
    link(page, "  ")
    assert "no text" in page.get_by_role("alert").inner_text()
    link(page, "x" * (MAX_CHARACTERS + 1))
    page.get_by_text("5,001 characters").wait_for()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_follow_the_dark_mode(open_page, address, scheme):
    page = open_page(address, color_scheme=scheme)
    link(page, TEXT)
    page.locator(".mention").first.wait_for()
    colours = "e => [getComputedStyle(e).color, getComputedStyle(e).backgroundColor]"
    for part in (".text", ".card"):
        ink, ground = (lightness(colour) for colour in page.locator(part).first.evaluate(colours))
        assert (ground < 60 < 200 < ink) if scheme == "dark" else (ink < 60 < 200 < ground)


def lightness(colour: str) -> float:
    """Mean of red, green and blue, 0 to 255, of a colour such as "rgb(1, 2, 3)"."""
    return sum(map(int, re.findall(r"\d+", colour)[:3])) / 3


def test_launch_serves_a_saved_linker_and_talks_to_no_other_machine(
    trained, gradio_process, open_page, tmp_path
):
    pytest.importorskip("gradio", reason="the demo was not launched: Gradio is not installed")
    trained.save_pretrained(tmp_path / "my-linker")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "0"}
    url, log = gradio_process("-c", LAUNCH, str(tmp_path / "my-linker"), str(port), env=environment)
    assert url.rstrip("/") == f"http://127.0.0.1:{port}"
    page = open_page(url)
    assert page.locator("h1").inner_text() == "Entity linking with my-linker"
    link(page, TEXT)
    page.get_by_text("2 mentions · 2 entities").wait_for()
    assert "ELSEWHERE" not in log.read_text()
    os.kill(int(re.search(r"PID (\d+)", log.read_text())[1]), signal.SIGTERM)  # type: ignore[index]
    for _ in range(300):
        if "RETURNED" in log.read_text():
            return
        time.sleep(0.1)
    pytest.fail(f"it did not end on SIGTERM: {log.read_text()}")


def test_linked_html_shows_what_the_linker_found(trained):
    html = linked_html(trained, "A town called Paris in Texas.", 2, 0.0, True)
    assert "<mark>Paris</mark>" in html and "<code>paris-tx</code>" in html
    assert html.count("<li>") == 1
    html = linked_html(trained, "A town called Paris in Texas.", 2, 0.0, True, "animals")
    assert "paris-tx" not in html and "puma-cat" in html


def test_linked_html_marks_or_drops_what_is_under_the_threshold(trained):
    shown = linked_html(trained, TEXT, 4, 1.0, True, ALL_WORLDS)
    assert shown.count('class="mention nil"') == 2 and "2 not in the knowledge base" in shown
    assert "no mentions found" in linked_html(trained, TEXT, 4, 1.0, False, ALL_WORLDS)


@pytest.mark.parametrize(
    ("text", "world", "message"),
    [
        ("", ALL_WORLDS, "There is no text yet"),
        (" \n", ALL_WORLDS, "There is no text yet"),
        ("x" * (MAX_CHARACTERS + 1), ALL_WORLDS, "5,001 characters, and 5,000 is the most"),
        (TEXT, "<moons>", "expected a world of the knowledge base .* got &#x27;&lt;moons&gt;&#x27;"),
    ],
)
def test_linked_html_tells_what_is_wrong(trained, text, world, message):
    html = linked_html(trained, text, 4, 0.0, True, world)
    assert re.search(rf'role="alert".*{message}', html) and "<mark>" not in html


def test_describe_and_hint_tell_of_the_knowledge_base(linker, trained):
    assert describe(linker) == "6 entities in 3 worlds, ranked by a bi-encoder."
    assert describe(trained).endswith("ranked by a bi-encoder and a cross-encoder.")
    assert hint(linker) == "A text with names such as Jaguar, Puma, Paris"


def test_create_demo_hides_choices_that_are_none(linker):
    pytest.importorskip("gradio", reason="no demo was made: Gradio is not installed")
    linker.num_candidates = 1
    linker.knowledge_base = KnowledgeBase.from_entities([{"id": "ulm", "title": "Ulm"}])
    demo = create_demo(linker, examples=["Ulm"])
    visible = {block.label: block.visible for block in demo.blocks.values() if hasattr(block, "label")}
    assert (visible["Candidates shown"], visible["World"], visible["Threshold (probability)"]) == (
        False,
        False,
        True,
    )


def test_without_gradio_the_error_names_the_extra(monkeypatch, linker):
    monkeypatch.setitem(sys.modules, "gradio", None)  # makes `import gradio` fail
    for call in (import_gradio, launch_options, lambda: launch("anything"), lambda: create_demo(linker)):
        with pytest.raises(ImportError, match=r"pip install 'hf_blink\[demo\]'"):
            call()


def test_launch_refuses_what_is_no_linker(tmp_path):
    with pytest.raises(FileNotFoundError, match=re.escape(str(tmp_path))):
        launch(tmp_path)
