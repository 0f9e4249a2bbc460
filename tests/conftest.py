"""Shared fixtures: tiny seeded models and a small catalogue, all made here; nothing is downloaded."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# Before the libraries read it: nothing of the user's cache is read or written.
os.environ["HF_HOME"] = tempfile.mkdtemp(prefix="hf-blink-tests-")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import pytest
import torch
from datasets import Dataset
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from hf_blink.modeling.entity_linker import EntityLinker
from hf_blink.modeling.knowledge_base import KnowledgeBase
from hf_blink.modeling.modeling_blink_biencoder import BlinkBiEncoder
from hf_blink.modeling.modeling_blink_crossencoder import BlinkCrossEncoder
from hf_blink.modeling.processing_blink import BlinkProcessor
from tests.hub_fixtures import hub as hub
from tests.hub_fixtures import hub_api as hub_api
from tests.hub_fixtures import hub_model as hub_model

ENTITIES: list[dict] = [
    {
        "id": "jaguar-cat",
        "title": "Jaguar",
        "description": "A large spotted cat of American forests.",
        "world": "animals",
    },
    {
        "id": "jaguar-car",
        "title": "Jaguar",
        "description": "A British maker of luxury cars.",
        "world": "firms",
    },
    {
        "id": "puma-cat",
        "title": "Puma",
        "description": "A big cat of the Andes.",
        "aliases": ["cougar"],
        "world": "animals",
    },
    {"id": "puma-shoe", "title": "Puma", "description": "A German maker of sports shoes.", "world": "firms"},
    {"id": "paris-fr", "title": "Paris", "description": "The capital of France.", "world": "places"},
    {"id": "paris-tx", "title": "Paris", "description": "A town in Texas.", "world": "places"},
]

SENTENCES = [
    ("a spotted cat, the", "jaguar", "slept in the forest", ["jaguar-cat"]),
    ("the car maker", "jaguar", "is for sale", ["jaguar-car"]),
    ("a big", "puma", "of the river", ["puma-cat"]),
    ("new shoes of", "puma", "for sport", ["puma-shoe"]),
    ("the capital", "paris", "of france", ["paris-fr"]),
    ("a town called", "paris", "in texas", ["paris-tx"]),
    ("in", "paris", "is the louvre", ["paris-fr"]),
    ("jaguar and", "puma", "are cats", ["puma-cat", "jaguar-cat"]),
]


@pytest.fixture(scope="session", autouse=True)
def _cache_of_the_tests():
    yield
    shutil.rmtree(os.environ["HF_HOME"], ignore_errors=True)


def _vocabulary() -> dict[str, int]:
    specials = ["[PAD]", "[unused0]", "[unused1]", "[unused2]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words = ["the", "a", "of", "in", "is", "cat", "car", "maker", "town", "capital", "france", "texas"]
    words += ["paris", "jaguar", "puma", "spotted", "shoes", "forest", "river"]
    letters = list("abcdefghijklmnopqrstuvwxyz0123456789[]().,;:!?'\"-/")
    return {
        token: i
        for i, token in enumerate([*specials, *words, *letters, *("##" + letter for letter in letters)])
    }


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory) -> str:
    """Folder of a BERT of 2 layers and 32 dimensions with random, seeded weights and a WordPiece tokenizer."""
    folder = tmp_path_factory.mktemp("tiny-encoder")
    vocabulary = _vocabulary()
    backend = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=True)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        pad_token="[PAD]",
        mask_token="[MASK]",
    )
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary), hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=64, max_position_embeddings=160, initializer_range=0.2,
    )  # fmt: skip
    BertModel(config).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="session")
def processor(tiny_encoder) -> BlinkProcessor:
    return BlinkProcessor.from_base(tiny_encoder, mention_length=32, entity_length=32)


@pytest.fixture
def bi_encoder(tiny_encoder) -> BlinkBiEncoder:
    return BlinkBiEncoder.from_encoder(tiny_encoder).eval()


@pytest.fixture
def cross_encoder(tiny_encoder) -> BlinkCrossEncoder:
    torch.manual_seed(1)
    return BlinkCrossEncoder.from_encoder(tiny_encoder, pooling="pooler").eval()


@pytest.fixture(scope="session")
def entities() -> list[dict]:
    return ENTITIES


@pytest.fixture(scope="session")
def knowledge_base() -> KnowledgeBase:
    return KnowledgeBase.from_entities(ENTITIES)


@pytest.fixture(scope="session")
def mentions() -> Dataset:
    return Dataset.from_list(
        [
            {
                "id": str(i),
                "context_left": left,
                "mention": mention,
                "context_right": right,
                "label_ids": labels,
                "world": None,
            }
            for i, (left, mention, right, labels) in enumerate(SENTENCES)
        ]
    )


@pytest.fixture
def linker(bi_encoder, processor, knowledge_base):
    return EntityLinker.from_knowledge_base(knowledge_base, bi_encoder, processor=processor, progress=False)


@pytest.fixture(scope="module")
def browser():
    """Debian's Chromium without a window, driven by Playwright; it may connect to this machine alone.

    Of a module, because its event loop occupies the thread as long as it is open.
    """
    playwright = pytest.importorskip(
        "playwright.sync_api",
        reason="no test in a browser: Playwright is not installed (pip install 'hf_blink[test]')",
    )
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no test in a browser: Chromium is not installed (apt-get install chromium)")
    quiet = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync")
    elsewhere = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost"
    with playwright.sync_playwright() as running:
        chromium = running.chromium.launch(executable_path=program, args=[*quiet, elsewhere])
        yield chromium
        chromium.close()


@pytest.fixture
def open_page(browser):
    """Opens an address in a page of its own; options are Playwright's.

    Fails at the end where a page had an error, or asked for anything of another machine.
    """
    pages, faults = [], []

    def open_page(url: str, **options):
        own = "/".join(url.split("/", 3)[:3]) + "/"
        page = browser.new_page(**options)
        pages.append(page)
        page.set_default_timeout(120_000)
        page.on("pageerror", lambda error: faults.append(f"error: {error}"))
        page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
        page.on(
            "request",
            lambda sent: None if sent.url.startswith((own, "data:", "blob:")) else faults.append(sent.url),
        )
        page.goto(url)
        return page

    yield open_page
    for page in pages:
        page.close()
    assert faults == []


@pytest.fixture
def gradio_process(tmp_path):
    """Starts Python with arguments and waits for the address that Gradio prints; gives it and the file of all output."""
    started: list[subprocess.Popen] = []

    def start(*arguments: str, **options) -> tuple[str, Path]:
        log = tmp_path / f"output-{len(started)}.txt"
        with log.open("w") as file:
            process = subprocess.Popen(
                [sys.executable, *arguments], stdout=file, stderr=subprocess.STDOUT, **options
            )
        started.append(process)
        for _ in range(2400):
            if found := re.search(r"Running on local URL: +(\S+)", log.read_text()):
                return found[1], log
            assert process.poll() is None, log.read_text()
            time.sleep(0.1)
        raise TimeoutError(log.read_text())

    yield start
    for process in started:
        process.terminate()
        process.wait(timeout=30)
