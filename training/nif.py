"""Documents in NIF, the form in which GERBIL and many data sets exchange linked texts: written, and read back.

    <DOCUMENT#char=0,22> a nif:RFC5147String , nif:String , nif:Context ;
        nif:beginIndex "0"^^xsd:nonNegativeInteger ; nif:endIndex "22"^^xsd:nonNegativeInteger ;
        nif:isString "Paris is in France."^^xsd:string .
    <DOCUMENT#char=0,5> a nif:RFC5147String , nif:String , nif:Phrase ;
        nif:anchorOf "Paris"^^xsd:string ; nif:beginIndex ... ; nif:endIndex ... ;
        nif:referenceContext <DOCUMENT#char=0,22> ; itsrdf:taIdentRef <http://dbpedia.org/resource/Paris> .

The reader takes the part of Turtle that such files use: prefixes, IRIs, prefixed names, literals, `;`, `,`, `a`, comments.
Lists and blank nodes are refused. NIF counts code points, as Python does.
"""

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from hf_blink.training.documents import Document, document
from hf_blink.training.whole_files import written_whole

_NIF = "http://persistence.uni-leipzig.org/nlp2rdf/ontologies/nif-core#"
_IDENT = "http://www.w3.org/2005/11/its/rdf#taIdentRef"
_TYPE = "http://www.w3.org/1999/02/22-rdf-syntax-ns#type"
NIL_PREFIX = "http://aksw.org/notInWiki/"  # GERBIL's for entities that no knowledge base has
_HEADER = f"""@prefix nif: <{_NIF}> .
@prefix itsrdf: <http://www.w3.org/2005/11/its/rdf#> .
@prefix xsd: <http://www.w3.org/2001/XMLSchema#> .
"""
_TOKEN = re.compile(
    r"""\s+|\#[^\n]*                                                      # white space, comment
    |(?P<iri><[^<>"{}|^`\\\s]*>)
    |(?P<long>\"\"\"(?:[^"\\]|\\.|"(?!""))*\"\"\"|'''(?:[^'\\]|\\.|'(?!''))*''')
    |(?P<literal>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')
    |(?P<word>@?[\w.-]*[\w-]:[\w.%-]*[\w%-]|@?[\w-]*:|@[\w-]+|[\w.+-]*[\w])
    |(?P<mark>\^\^|[;,.])
    |(?P<bad>.)""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPE = re.compile(r"\\(u[0-9A-Fa-f]{4}|U[0-9A-Fa-f]{8}|.)", re.DOTALL)
_ESCAPED = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}


def write_nif(
    documents: Iterable[Mapping[str, Any]], path: str | os.PathLike[str], *, entity_prefix: str = ""
) -> None:
    """Writes documents with their mentions, gold ones or links (`linked_documents`).

    Args:
        documents: as `read_documents` gives them; of several labels of a mention all are written.
        path: the file, Turtle.
        entity_prefix: what goes before an entity id to make an IRI (`http://dbpedia.org/resource/`); an id that is one
            already is kept, and with "" it has to be.

    Raises:
        ValueError: an entity id that is no IRI, without a prefix.
    """
    with written_whole(Path(path)) as file:
        file.write(_HEADER.encode())
        for source in documents:
            file.writelines(line.encode() for line in _nif_lines(source, entity_prefix))


def _nif_lines(source: Mapping[str, Any], prefix: str) -> Iterator[str]:
    base, text = f"http://hf-blink.invalid/{quote(source['doc_id'], safe='/')}", source["text"]
    context = f"<{base}#char=0,{len(text)}>"
    kinds = "a nif:RFC5147String , nif:String"
    yield f"\n{context} {kinds} , nif:Context ;\n{_bounds(0, len(text))} ;\n    nif:isString {_literal(text)} .\n"
    for mention in source["mentions"]:
        start, end = mention["start"], mention["end"]
        words = quote(text[start:end], safe="")
        labels = [_iri(label, prefix) for label in mention["label_ids"]] or [f"<{NIL_PREFIX}{words}>"]
        yield (
            f"<{base}#char={start},{end}> {kinds} , nif:Phrase ;\n    nif:anchorOf {_literal(text[start:end])} ;\n"
            f"{_bounds(start, end)} ;\n    nif:referenceContext {context} ;\n"
            f"    itsrdf:taIdentRef {' , '.join(labels)} .\n"
        )


def _bounds(start: int, end: int) -> str:
    number = '"^^xsd:nonNegativeInteger'
    return f'    nif:beginIndex "{start}{number} ;\n    nif:endIndex "{end}{number}'


def _literal(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\r", "\\r")
    return f'"{escaped}"^^xsd:string'


def _iri(label: str, prefix: str) -> str:
    if re.match(r"[a-z][a-z0-9+.-]*:", label):
        return f"<{quote(label, safe=_IRI_CHARACTERS)}>"
    if not prefix:
        raise ValueError(
            f"expected entity ids that are IRIs, got {label!r}; give entity_prefix, such as http://dbpedia.org/resource/"
        )
    return f"<{prefix}{quote(label, safe='/:')}>"


_IRI_CHARACTERS = "/:?#[]@!$&'()*+,;=%-._~"


def read_nif(path: str | os.PathLike[str], *, entity_prefix: str = "") -> Iterator[Document]:
    """Reads documents and their mentions.

    Args:
        path: the file, Turtle.
        entity_prefix: is taken off the entities' IRIs, and what is left unquoted, to make ids; others are kept whole.

    Yields:
        Documents in the order of the file. A mention without `itsrdf:taIdentRef`, or with one that says that no knowledge
        base has the entity, is NIL.

    Raises:
        ValueError: no Turtle of this kind, or a mention that its text does not have; names the file and line.
    """
    things = _properties(Path(path).read_text(encoding="utf-8-sig"), str(path))
    contexts = {name: values for name, values in things.items() if f"{_NIF}isString" in values}
    mentions: dict[str, list[tuple[int, int, list[str]]]] = {name: [] for name in contexts}
    for name, values in things.items():
        reference = values.get(f"{_NIF}referenceContext", [None])[0]
        if reference is None or name in contexts:
            continue
        if reference not in contexts:
            raise ValueError(f"{path}: expected the text of <{reference}>, which <{name}> is in, got none")
        start, end = (int(values[f"{_NIF}{bound}Index"][0]) for bound in ("begin", "end"))
        mentions[reference].append((start, end, _labels(values.get(_IDENT, []), entity_prefix)))
    for name, values in contexts.items():
        doc_id = unquote(name.partition("#")[0].removeprefix("http://hf-blink.invalid/"))
        yield document(doc_id, values[f"{_NIF}isString"][0], mentions[name])


def _labels(iris: Iterable[str], prefix: str) -> list[str]:
    known = [iri for iri in iris if "notInWiki" not in iri and not iri.endswith("#null") and iri != "null"]
    return [unquote(iri[len(prefix) :]) if prefix and iri.startswith(prefix) else iri for iri in known]


def _properties(text: str, path: str) -> dict[str, dict[str, list[str]]]:
    """Subject -> property -> values, IRIs and literals alike as plain strings."""
    prefixes: dict[str, str] = {}
    things: dict[str, dict[str, list[str]]] = {}
    statement: list[tuple[str, str]] = []
    for kind, value, place in _tokens(text, path):
        if (kind, value) != ("mark", "."):
            statement.append((kind, value))
            continue
        if statement and statement[0][1].lower() in ("@prefix", "@base", "prefix"):
            prefixes[statement[1][1]] = statement[-1][1]
        else:
            try:
                _take(statement, prefixes, things)
            except (IndexError, KeyError) as error:
                raise ValueError(f"{place}: expected subject, properties and values, got {error}") from None
        statement = []
    if statement:
        raise ValueError(f"{path}: expected a full stop after the last statement, got the end of the file")
    return things


def _tokens(text: str, path: str) -> Iterator[tuple[str, str, str]]:
    line = 1
    for match in _TOKEN.finditer(text):
        kind, value, place = match.lastgroup, match[0], f"{path}, line {line}"
        line += value.count("\n")
        if kind == "bad":
            raise ValueError(f"{place}: expected Turtle without lists and blank nodes, got {value!r}")
        if kind == "iri":
            yield "iri", value[1:-1], place
        elif kind in ("long", "literal"):
            quotes = 3 if kind == "long" else 1
            yield "literal", _ESCAPE.sub(_unescaped, value[quotes:-quotes]), place
        elif kind is not None:
            yield kind, value, place


def _unescaped(match: re.Match[str]) -> str:
    code = match[1]
    return chr(int(code[1:], 16)) if code[0] in "uU" and len(code) > 1 else _ESCAPED.get(code, code)


def _take(statement: list[tuple[str, str]], prefixes: dict[str, str], things: dict[str, Any]) -> None:
    """Adds one statement: subject, then property and values, `;` and `,` between them."""

    def name(kind: str, value: str) -> str:
        if kind != "word":
            return value
        if value == "a":
            return _TYPE
        before, colon, after = value.partition(":")
        return prefixes[f"{before}:"] + after if colon else value

    known = things.setdefault(name(*statement[0]), {})
    place = 1
    while place < len(statement):
        if statement[place] == ("mark", ";"):
            place += 1
            continue
        values = known.setdefault(name(*statement[place]), [])
        place += 1
        while True:
            values.append(name(*statement[place]))
            place += 1
            if place < len(statement) and statement[place] == ("mark", "^^"):
                place += 2
            if place < len(statement) and statement[place][1].startswith("@"):  # a language
                place += 1
            if place >= len(statement) or statement[place] != ("mark", ","):
                break
            place += 1
