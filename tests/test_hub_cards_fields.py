from dataclasses import dataclass

import pytest

from hf_blink.hub_cards.fields import Facts, mapping, matching, number, repo_id, text


@dataclass(frozen=True, kw_only=True)
class Inner(Facts):
    name: str

    def __post_init__(self) -> None:
        self._check_text("name")


@dataclass(frozen=True, kw_only=True)
class Outer(Facts):
    count: int
    flag: bool
    inner: Inner
    others: tuple[Inner, ...] = ()

    def __post_init__(self) -> None:
        self._check_count("count", least=1)
        self._check_flag("flag")
        self._nested("inner", Inner)
        self._nested_all("others", Inner)


GOOD = {"count": 2, "flag": True, "inner": {"name": "a"}, "others": [{"name": "b"}, Inner(name="c")]}


def test_from_dict_makes_nested_facts():
    facts = Outer.from_dict(GOOD)
    assert facts.inner == Inner(name="a")
    assert facts.others == (Inner(name="b"), Inner(name="c"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"colour": 1}, "Outer: expected fields among count, flag, inner, others, got also colour"),
        ({"count": 0}, "Outer.count: expected an integer of at least 1, got 0"),
        ({"count": True}, "Outer.count: expected an integer"),
        ({"flag": 1}, "Outer.flag: expected True or False, got 1"),
        ({"inner": "a"}, "Outer.inner: expected a mapping, got 'a'"),
        ({"inner": {}}, "Outer.inner: Inner: expected a value for name, got none"),
        ({"others": "ab"}, "Outer.others: expected a list, got 'ab'"),
        (
            {"others": [{"name": "a"}, {"name": " "}]},
            r"Outer.others\[1\]: Inner.name: expected a text, got ' '",
        ),
        ({"inner": {"name": "[More Information Needed]"}}, "Inner.name: .* got the placeholder"),
    ],
)
def test_from_dict_names_the_bad_field(change, message):
    with pytest.raises(ValueError, match=message):
        Outer.from_dict({**GOOD, **change})


@pytest.mark.parametrize("name", ["count", "flag", "inner"])
def test_from_dict_names_the_missing_field(name):
    with pytest.raises(ValueError, match=f"Outer: expected a value for {name}, got none"):
        Outer.from_dict({key: value for key, value in GOOD.items() if key != name})


@pytest.mark.parametrize(
    "value", ["/home/me/model", "./model", "a/b/c", "a--b/c", "a/b|c", "a/b\n", "", None, 3]
)
def test_repo_id_refuses_what_is_no_hub_name(value):
    with pytest.raises(ValueError, match="Card.base: expected a Hub name such as owner/name"):
        repo_id(value, "Card.base")


def test_repo_id_takes_hub_names():
    assert repo_id("org/my-model_1.0", "x") == "org/my-model_1.0"
    assert repo_id("bert-base-uncased", "x") == "bert-base-uncased"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "1", None, True])
def test_number_refuses_what_is_no_finite_number(value):
    with pytest.raises(ValueError, match="a.b: expected a finite number"):
        number(value, "a.b")


def test_values_come_back_plain():
    class Text(str):
        def __html__(self) -> str:
            return self

    assert type(text(Text("a"), "x")) is str
    assert type(matching(Text("a"), "a", "a", "x")) is str
    assert type(number(True + 1, "x")) is int
    assert mapping({1: 2}, "x") == {"1": 2}
