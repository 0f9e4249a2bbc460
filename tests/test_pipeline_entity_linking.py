import json
from collections.abc import Iterator

import pytest
import torch
from datasets import Dataset, IterableDataset
from transformers import pipeline

import hf_blink  # noqa: F401  (registers the task)
from hf_blink.modeling.entity_linker import EntityLinker

TEXT = "A Jaguar slept near Paris."


@pytest.fixture
def folder(bi_encoder, processor, knowledge_base, cross_encoder, tmp_path) -> str:
    linker = EntityLinker.from_knowledge_base(
        knowledge_base,
        bi_encoder,
        processor=processor,
        progress=False,
        cross_encoder=cross_encoder,
        num_candidates=3,
    )
    linker.save_pretrained(tmp_path / "linker")
    return str(tmp_path / "linker")


@pytest.fixture
def pipe(folder):
    return pipeline("entity-linking", model=folder, device="cpu")


def test_a_text_gives_json_dictionaries_with_offsets(pipe):
    links = pipe(TEXT)
    assert [(link["start"], link["end"], link["word"]) for link in links] == [
        (2, 8, "Jaguar"),
        (20, 25, "Paris"),
    ]
    first = links[0]
    assert first["entity_id"] == first["candidates"][0]["entity_id"] and first["nil"] is False
    assert len(first["candidates"]) == 3 and 0 < first["score"] <= 1
    assert json.loads(json.dumps(links)) == links


def test_the_pipeline_equals_the_linker(pipe, folder):
    linker = EntityLinker.from_pretrained(folder)
    links = linker.link(TEXT)
    assert [link["score"] for link in pipe(TEXT)] == pytest.approx([link.score for link in links], abs=1e-6)


def test_every_form_of_input_keeps_every_text(pipe):
    texts = ["nothing", TEXT, "", "Puma!", "no mention here", "cougar", ""]
    expected = [0, 2, 0, 1, 0, 1, 0]
    assert [len(links) for links in pipe(texts)] == expected
    assert [len(links) for links in pipe(tuple(texts))] == expected
    assert [len(links) for links in pipe(texts, batch_size=2)] == expected
    assert [len(links) for links in pipe(Dataset.from_dict({"text": texts}))] == expected
    generated = pipe(text for text in texts)
    assert isinstance(generated, Iterator)
    assert [len(links) for links in generated] == expected
    assert pipe([]) == [] and pipe("") == []


def test_dictionaries_with_spans_and_without_are_mixed(pipe):
    inputs = [
        {"text": "a big cat", "mentions": [(6, 9)]},
        TEXT,
        {"text": "x", "mentions": []},
        {"text": TEXT},
    ]
    assert [[link["word"] for link in links] for links in pipe(inputs)] == [
        ["cat"],
        ["Jaguar", "Paris"],
        [],
        ["Jaguar", "Paris"],
    ]
    assert pipe({"text": "a big cat", "mentions": [{"start": 6, "end": 9}]})[0]["word"] == "cat"


def test_options_of_a_call_and_of_the_constructor(pipe, folder):
    assert len(pipe(TEXT, top_k=1)[0]["candidates"]) == 1
    assert pipe(TEXT, threshold=1.0) == []
    nil = pipe(TEXT, threshold=1.0, return_nil=True)[0]
    assert nil["nil"] is True and nil["entity_id"] is None and len(nil["candidates"]) == 3
    assert pipe("<Jaguar> and <cat>", marks=("<", ">"))[1]["word"] == "cat"
    assert {c["entity_id"] for c in pipe(TEXT, worlds="firms")[0]["candidates"]} == {
        "jaguar-car",
        "puma-shoe",
    }
    preset = pipeline("entity-linking", model=folder, device="cpu", top_k=2, batch_size=1)
    assert len(preset(TEXT)[0]["candidates"]) == 2


def worlds_of(links):
    return [{candidate["entity_id"] for candidate in link["candidates"]} for link in links]


def test_an_inputs_world_is_honoured_in_every_form(pipe):
    firms, animals = {"jaguar-car", "puma-shoe"}, {"jaguar-cat", "puma-cat"}
    assert worlds_of(pipe({"text": "A Jaguar", "world": "firms"})) == [firms]
    assert worlds_of(
        pipe({"text": "A Jaguar", "world": "firms", "mentions": [(2, 8)]}, worlds="animals")
    ) == [firms]
    inputs = [
        {"text": "A Jaguar", "world": "firms"},
        {"text": "A Jaguar", "mentions": [(2, 8)], "world": None},
        "nothing",
        {"text": "A Jaguar", "mentions": [(2, 8)], "world": "firms"},
    ]
    for size in (1, 3, 64):
        found = pipe(inputs, worlds="animals", batch_size=size)
        assert [worlds_of(links) for links in found] == [[firms], [animals], [], [firms]]
        found = pipe(["Jaguar", "no", "Jaguar"], worlds=["firms", None, "animals"], batch_size=size)
        assert [worlds_of(links) for links in found] == [[firms], [], [animals]]
    assert worlds_of(pipe("Jaguar", worlds=["firms"])) == [firms]
    with pytest.raises(ValueError, match="one value of worlds for each of the 2 texts, got 1"):
        pipe(["Jaguar", "Jaguar"], worlds=["firms"])
    with pytest.raises(ValueError, match="inputs without a length.*its own key 'world'"):
        pipe((text for text in ["Jaguar"]), worlds=["firms"])
    with pytest.raises(ValueError, match="expected a world of the knowledge base"):
        pipe({"text": "Jaguar", "world": "nowhere"})


def test_inputs_without_a_length_are_read_as_results_are_taken(pipe):
    read = []

    def texts():
        for number in range(10):
            read.append(number)
            yield {"text": TEXT}

    results = pipe(texts(), batch_size=2)
    assert read == []
    assert len(next(results)) == 2 and read == [0, 1]
    streamed = pipe(IterableDataset.from_generator(texts), batch_size=4)
    assert isinstance(streamed, Iterator)
    assert [len(links) for links in streamed] == [2] * 10


def test_dtype_reaches_both_encoders(folder):
    pipe = pipeline("entity-linking", model=folder, device="cpu", dtype=torch.bfloat16)
    assert pipe.linker.bi_encoder.dtype == pipe.linker.cross_encoder.dtype == torch.bfloat16
    assert [link["word"] for link in pipe(TEXT)] == ["Jaguar", "Paris"]


def test_wrong_input_and_options_are_named(pipe):
    for wrong in (5, None, {"txt": "a"}, {"text": 5}, [["a"]], [b"a"], [5]):
        with pytest.raises(TypeError, match=r"^expected a str or a dict with the key 'text'.*, got "):
            pipe(wrong)
    with pytest.raises(
        ValueError, match="expected the keys text, mentions, world in an input, got also id, span"
    ):
        pipe([{"text": "abc", "span": (0, 1), "id": 1}])
    with pytest.raises(ValueError, match="got topk"):
        pipe(TEXT, topk=3)
    with pytest.raises(ValueError, match="end exclusive"):
        pipe({"text": "abc", "mentions": [(0, 9)]})


def test_save_pretrained_saves_the_whole_linker(pipe, tmp_path):
    pipe.save_pretrained(str(tmp_path / "again"))
    again = pipeline("entity-linking", model=str(tmp_path / "again"), device="cpu")
    assert [link["score"] for link in again(TEXT)] == pytest.approx(
        [link["score"] for link in pipe(TEXT)], abs=1e-6
    )


def test_a_plain_encoder_is_not_taken_for_a_linker(tiny_encoder):
    with pytest.raises(FileNotFoundError, match="expected a linker in .*, got no linker.json"):
        pipeline("entity-linking", model=tiny_encoder)
