import gzip
import json

import pytest

from hf_blink.training.document_readers import read_documents
from hf_blink.training.nif import read_nif, write_nif

AIDA = """-DOCSTART- (1 CATS)
Jaguar\tB\tJaguar\tJaguar\thttp://en.wikipedia.org/wiki/Jaguar\t42\t/m/x1
sleeps
near
San\tB\tSan Marino\tSan_Marino\thttp://en.wikipedia.org/wiki/San_Marino\t77\t/m/x2
Marino\tI\tSan Marino\tSan_Marino\thttp://en.wikipedia.org/wiki/San_Marino\t77\t/m/x2
.

Bo\tB\tBo\t--NME--
Ed\tB\tEd\t--NME--

-DOCSTART- (2 DOGS)
No
names
"""
PUBTATOR = """11|t|Cats sneeze.
11|a|A cat has flu and a cold.
11\t0\t4\tCats\tSpecies\t9685
11\t15\t18\tcat\tSpecies\t9685|9682
11\t23\t26\tflu\tDisease\t-1
11\tCID\tD1\tD2

12|t|Dogs
12|a|
12\t0\t4\tDogs\tSpecies\tMESH:D004285
"""


def write(tmp_path, text, name="file.txt"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def json_lines(tmp_path, *records):
    return write(tmp_path, "".join(json.dumps(record) + "\n" for record in records), "file.jsonl")


def spans(row):
    return [(row["text"][m["start"] : m["end"]], m["label_ids"]) for m in row["mentions"]]


def test_the_common_form(tmp_path):
    path = json_lines(
        tmp_path,
        {"doc_id": "a", "text": "Puma in Paris", "split": "train", "complete": False, "world": "w",
         "mentions": [{"start": 8, "end": 13, "label_id": "p"}, {"start": 0, "end": 4, "label_id": None, "nil": True}]},
        {"text": "nothing", "split": "val"},
        {"id": "c", "text": "Puma", "entities": [{"start": 0, "end": 4, "label": ["x", "y"]}]},
    )  # fmt: skip
    rows = read_documents(path)
    assert rows["doc_id"] == ["a", "file.jsonl:2", "c"] and rows["complete"] == [False, None, None]
    assert spans(rows[0]) == [("Puma", []), ("Paris", ["p"])] and rows[0]["world"] == "w"
    assert spans(rows[2]) == [("Puma", ["x", "y"])]
    assert read_documents(path, split="val")["text"] == ["nothing"], "one without a split is of none"
    with pytest.raises(ValueError, match="no document in .* is of the split 'test'"):
        read_documents(json_lines(tmp_path, {"text": "x", "split": "val"}), split="test")


def test_elq_questions(tmp_path):
    sample = {"id": "WebQTest-1", "text": "where is paris", "mentions": [[9, 14]], "label_id": [7],
              "wikidata_id": ["Q90"], "entity": ["Paris"]}  # fmt: skip
    path = json_lines(tmp_path, sample)
    assert spans(read_documents(path, "elq", label_field="label_id")[0]) == [("paris", ["7"])]
    assert spans(read_documents(path, "elq", label_field="wikidata_id")[0]) == [("paris", ["Q90"])]
    wiki = read_documents(path, "elq", label_field="entity", id_format="en:{}")
    assert spans(wiki[0]) == [("paris", ["en:Paris"])] and wiki[0]["label_ids"] == ["en:Paris"]
    with pytest.raises(ValueError, match="line 1: field 'label_id': expected one label for each"):
        read_documents(json_lines(tmp_path, sample | {"label_id": []}), "elq", label_field="label_id")


def test_elq_questions_name_lines_of_an_imported_catalogue(tmp_path):
    """Its ids are pages of Wikipedia; without the catalogue a line's number would pass for one."""
    from hf_blink.original_entities import import_blink_entities

    lines = [{"text": "x", "idx": f"https://en.wikipedia.org/wiki?curid={page}", "title": title, "entity": title,
              "kb_idx": wikidata_id} for page, title, wikidata_id in [(1, "Puma", "Q1"), (0, "Paris", "Q90")]]  # fmt: skip
    catalogue = import_blink_entities(json_lines(tmp_path, *lines))
    sample = {"id": "q", "text": "paris or puma or x", "mentions": [[0, 5], [9, 13], [17, 18]], "label_id": [1, 0, -1],
              "wikidata_id": ["Q90", "Q1", None]}  # fmt: skip
    path = json_lines(tmp_path, sample)
    rows = read_documents(path, "elq", knowledge_base=catalogue)
    assert spans(rows[0]) == [("paris", ["0"]), ("puma", ["1"]), ("x", [])]
    with pytest.raises(
        ValueError, match=r"expected knowledge_base= for elq, .* or a label_field \(label_id, .*got neither"
    ):
        read_documents(path, "elq")
    as_strings = json_lines(tmp_path, sample | {"label_id": ["1", "0", -1]})
    assert read_documents(as_strings, "elq", knowledge_base=catalogue)["mentions"] == rows["mentions"]
    path = json_lines(tmp_path, sample | {"label_id": [0, 1, -1]})
    with pytest.raises(
        ValueError, match="expected the line of Q90 in the catalogue, got line 0, which has Q1"
    ):
        read_documents(path, "elq", knowledge_base=catalogue)
    path = json_lines(tmp_path, sample | {"label_id": [1, 2, -1]})
    with pytest.raises(ValueError, match="expected lines of the catalogue, 0 to 1, got 2"):
        read_documents(path, "elq", knowledge_base=catalogue)


def test_blink_and_kilt_mentions(tmp_path):
    record = {"context_left": "She went to", "mention": "Paris", "context_right": ", Texas", "label_id": 12,
              "query_id": "q"}  # fmt: skip
    (row,) = read_documents(json_lines(tmp_path, record), "blink", id_format="w:{}")
    assert row["text"] == "She went to Paris , Texas" and spans(row) == [("Paris", ["w:12"])]
    assert row["complete"] is False and row["doc_id"] == "q" and row["world"] is None
    (row,) = read_documents(json_lines(tmp_path, record | {"world": "places"}), "blink")
    assert row["world"] == "places", "as read_blink_mentions keeps it"
    answer = {"answer": "Paris, Texas", "provenance": [{"wikipedia_id": "12", "title": "Paris, Texas"}]}
    record = {"id": "k", "input": "She went to [START_ENT] Paris [END_ENT] , Texas", "output": [answer]}
    path = json_lines(tmp_path, record)
    assert spans(read_documents(path, "kilt")[0]) == [("Paris", ["12"])]
    assert spans(read_documents(path, "kilt", label_field="title")[0]) == [("Paris", ["Paris, Texas"])]
    with pytest.raises(ValueError, match=r"one \[START_ENT\]"):
        read_documents(json_lines(tmp_path, {"input": "Paris"}), "kilt")


def test_aida_conll(tmp_path):
    path = write(tmp_path, AIDA)
    rows = read_documents(path, "aida")
    assert rows["doc_id"] == ["1 CATS", "2 DOGS"]
    assert rows["text"] == ["Jaguar sleeps near San Marino .\nBo Ed", "No names"]
    assert spans(rows[0]) == [("Jaguar", ["42"]), ("San Marino", ["77"]), ("Bo", []), ("Ed", [])]
    assert spans(read_documents(path, "aida", label_field="title")[0])[1] == ("San Marino", ["San Marino"])
    with pytest.raises(ValueError, match=r"file.txt: line 2: field 'tag': expected B, I, O or none"):
        read_documents(write(tmp_path, "-DOCSTART- (1)\nJaguar\tX\n"), "aida")
    with pytest.raises(ValueError, match="token, tag, mention and entity"):
        read_documents(write(tmp_path, "-DOCSTART- (1)\nJaguar\tB\n"), "aida")


def test_pubtator(tmp_path):
    path = write(tmp_path, PUBTATOR)
    rows = read_documents(path, "pubtator")
    assert rows["doc_id"] == ["11", "12"] and rows["text"][0] == "Cats sneeze. A cat has flu and a cold."
    assert spans(rows[0]) == [("Cats", ["9685"]), ("cat", ["9685", "9682"]), ("flu", [])]
    assert spans(rows[1]) == [("Dogs", ["MESH:D004285"])]
    packed = tmp_path / "file.gz"
    packed.write_bytes(gzip.compress(PUBTATOR.encode()))
    assert read_documents(packed, "pubtator").to_list() == rows.to_list()
    wrong = "11|t|Cats\n11|a|x\n11\t0\t3\tCats\tSpecies\t1\n11\t9\n"
    with pytest.raises(
        ValueError, match=r"line 3: field 'mention': expected the characters 0 to 3 .*'Cat'"
    ) as error:
        read_documents(write(tmp_path, wrong), "pubtator")
    assert "2 bad document record(s)" in str(error.value) and "line 4" in str(error.value)


def test_nif_round_trip(tmp_path):
    source = json_lines(
        tmp_path,
        {"doc_id": "a b/1", "text": 'São "Paris"\\ \n\U0001f406 Puma', "mentions":
         [{"start": 5, "end": 10, "label_id": "Paris, Texas"}, {"start": 16, "end": 20, "label_id": None}]},
        {"doc_id": "2", "text": "none"},
    )  # fmt: skip
    rows = read_documents(source)
    write_nif(rows, tmp_path / "out.ttl", entity_prefix="http://dbpedia.org/resource/")
    back = read_documents(tmp_path / "out.ttl", "nif", id_format="http://dbpedia.org/resource/{}")
    assert back.to_list() == rows.to_list()
    whole = read_documents(tmp_path / "out.ttl", "nif")[0]
    assert whole["label_ids"] == ["http://dbpedia.org/resource/Paris%2C%20Texas"]
    with pytest.raises(ValueError, match="entity ids that are IRIs, got 'Paris, Texas'"):
        write_nif(rows, tmp_path / "out.ttl")
    assert read_documents(tmp_path / "out.ttl", "nif")[0] == whole, "the older file stays"
    with pytest.raises(ValueError, match="expected a split of a form that names it .*, got 'val' for nif"):
        read_documents(tmp_path / "out.ttl", "nif", split="val")


def test_nif_as_others_write_it(tmp_path):
    text = """# a comment ; with marks .
@prefix nif: <http://persistence.uni-leipzig.org/nlp2rdf/ontologies/nif-core#> .
@prefix rdf: <http://www.w3.org/1999/02/22-rdf-syntax-ns#> .
@prefix xsd: <http://www.w3.org/2001/XMLSchema#> .
@prefix itsrdf: <http://www.w3.org/2005/11/its/rdf#> .
@prefix ex: <http://example.org/doc1#> .
<http://example.org/doc1#char=0,14> rdf:type nif:Context , nif:String ;
  nif:isString \"\"\"Paris "or"
Puma\"\"\"@en ; nif:beginIndex "0"^^xsd:nonNegativeInteger .
<http://example.org/doc1#char=11,15>
    a nif:Phrase ; nif:beginIndex "11"^^xsd:int ; nif:endIndex "15"^^xsd:int ;
    itsrdf:taIdentRef <http://aksw.org/notInWiki/Puma> ;
    nif:referenceContext <http://example.org/doc1#char=0,14> ; .
ex:first nif:beginIndex "0" ; nif:endIndex "5" ; nif:anchorOf 'Pa\\u0072is' ;
    nif:referenceContext <http://example.org/doc1#char=0,14> ; itsrdf:taIdentRef <http://ex.org/Paris> .
"""
    (row,) = read_nif(write(tmp_path, text, "other.ttl"))
    assert row["doc_id"] == "http://example.org/doc1" and row["text"] == 'Paris "or"\nPuma'
    assert spans(row) == [("Paris", ["http://ex.org/Paris"]), ("Puma", [])]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<a> <b> [ ] .", r"line 1: expected Turtle without lists and blank nodes, got '\['"),
        ('<a> <b> "c"', "full stop after the last statement"),
        ("<a> x:b <c> .", "expected subject, properties and values"),
    ],
)
def test_files_that_are_no_nif_are_refused(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        list(read_nif(write(tmp_path, text)))


def test_unknown_forms_and_settings_are_refused(tmp_path):
    path = write(tmp_path, "x")
    with pytest.raises(ValueError, match="a form among common, elq, .* got 'conll'"):
        read_documents(path, "conll")
    with pytest.raises(ValueError, match=r"label_field of kilt \(wikipedia_id, title\), got 'url'"):
        read_documents(path, "kilt", label_field="url")
    with pytest.raises(ValueError, match="id_format with one"):
        read_documents(path, id_format="x")
    with pytest.raises(FileNotFoundError, match="expected a document file"):
        read_documents(tmp_path / "missing")
    with pytest.raises(ValueError, match="2 bad document record"):
        read_documents(
            json_lines(
                tmp_path, {"text": 5}, {"text": "x", "mentions": [{"start": 0, "end": 9, "label": "a"}]}
            )
        )


def test_a_file_of_another_form_is_told(tmp_path):
    path = json_lines(tmp_path, {"id": "k", "input": "She went to [START_ENT] Paris [END_ENT]"})
    with pytest.raises(
        ValueError, match='a line -DOCSTART- before each .*got none, the first line is \'{"id"'
    ) as error:
        read_documents(path, "aida")
    assert "name the file's form" in str(error.value) and "1 bad document" in str(error.value)
    with pytest.raises(
        ValueError, match=r"expected lines id\|t\|title .*PubTator.*the first line is '{\"id\""
    ):
        read_documents(path, "pubtator")
    for form, expected in (("aida", "-DOCSTART-"), ("pubtator", r"id\|t\|title"), ("nif", "nif:Context")):
        with pytest.raises(
            ValueError, match=f"no document in .*: expected the form '{form}' .*{expected}.*, got none"
        ):
            read_documents(write(tmp_path, "\n"), form)
