"""What all facts of a card have in common: they are checked when they are made, and an error names the field.

Facts come from folders, trainers and users as plain Python values, so `from_dict` takes mappings all the way down,
and refuses fields that are missing or that no card has. A text such as "[More Information Needed]" is no value.
"""

import dataclasses
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any, Self

from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

PLACEHOLDER = re.compile("more information needed", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Facts:
    """Base of all facts."""

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Makes the facts from a mapping; nested facts may be mappings too.

        Raises:
            ValueError: a missing or unknown field, or a bad value; names the field.
        """
        fields = {field.name: field for field in dataclasses.fields(cls)}
        if unknown := sorted(map(str, set(values) - set(fields))):
            raise ValueError(
                f"{cls.__name__}: expected fields among {', '.join(fields)}, got also {', '.join(unknown)}"
            )
        needed = (name for name, field in fields.items() if field.default is dataclasses.MISSING)
        if missing := [name for name in needed if name not in values]:
            raise ValueError(f"{cls.__name__}: expected a value for {', '.join(missing)}, got none")
        return cls(**values)

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    def _nested(self, name: str, kind: type["Facts"]) -> None:
        """Replaces a mapping in a field by facts of the kind."""
        self._set(name, _as_facts(kind, getattr(self, name), self._place(name)))

    def _nested_all(self, name: str, kind: type["Facts"]) -> None:
        """Replaces the mappings in a list by facts of the kind, and the list by a tuple."""
        values = self._items(name)
        place = self._place(name)
        self._set(name, tuple(_as_facts(kind, value, f"{place}[{i}]") for i, value in enumerate(values)))

    def _items(self, name: str) -> list[Any]:
        values = getattr(self, name)
        if isinstance(values, (str, bytes, Mapping)) or not isinstance(values, Iterable):
            raise ValueError(f"{self._place(name)}: expected a list, got {_show(values)}")
        return list(values)

    def _place(self, name: str) -> str:
        return f"{type(self).__name__}.{name}"

    def _check_text(self, *names: str) -> None:
        for name in names:
            self._set(name, text(getattr(self, name), self._place(name)))

    def _check_repo(self, *names: str) -> None:
        for name in names:
            self._set(name, repo_id(getattr(self, name), self._place(name)))

    def _check_optional_repo(self, *names: str) -> None:
        self._check_repo(*(name for name in names if getattr(self, name) is not None))

    def _check_count(self, *names: str, least: int = 0) -> None:
        for name in names:
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise ValueError(
                    f"{self._place(name)}: expected an integer of at least {least}, got {_show(value)}"
                )

    def _check_number(self, *names: str) -> None:
        for name in names:
            self._set(name, number(getattr(self, name), self._place(name)))

    def _check_flag(self, *names: str) -> None:
        for name in names:
            if not isinstance(getattr(self, name), bool):
                raise ValueError(
                    f"{self._place(name)}: expected True or False, got {_show(getattr(self, name))}"
                )


def text(value: Any, place: str) -> str:
    """A text that says something.

    Raises:
        ValueError: no text, an empty one or a placeholder.
    """
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{place}: expected a text, got {_show(value)}")
    if PLACEHOLDER.search(value):
        raise ValueError(f"{place}: expected a value, got the placeholder {_show(value)}")
    return str.__str__(value)


def matching(value: Any, pattern: str, example: str, place: str) -> str:
    """A text of a fixed form.

    Raises:
        ValueError: a text of another form.
    """
    if not isinstance(value, str) or not re.fullmatch(pattern, value, re.ASCII):
        raise ValueError(f"{place}: expected something like {example}, got {_show(value)}")
    return str.__str__(value)


def repo_id(value: Any, place: str) -> str:
    """A Hub name `owner/name`, or the `name` of one of the few repositories without owner.

    Raises:
        ValueError: something else, such as a local path.
    """
    try:
        validate_repo_id(value if isinstance(value, str) else "")
    except HFValidationError as error:
        raise ValueError(
            f"{place}: expected a Hub name such as owner/name, got {_show(value)}; {error}"
        ) from None
    return str.__str__(value)


def number(value: Any, place: str) -> float:
    """A finite number as a plain int or float.

    Raises:
        ValueError: something else, NaN or infinity.
    """
    if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
        raise ValueError(f"{place}: expected a finite number, got {_show(value)}")
    return int(value) if float(value).is_integer() and isinstance(value, int) else float(value)


def mapping(value: Any, place: str) -> dict[str, Any]:
    """A mapping with texts as keys.

    Raises:
        ValueError: something else.
    """
    if not isinstance(value, Mapping):
        raise ValueError(f"{place}: expected a mapping, got {_show(value)}")
    return {str(key): item for key, item in value.items()}


def _as_facts(kind: type[Facts], value: Any, place: str) -> Facts:
    if isinstance(value, kind):
        return value
    try:
        return kind.from_dict(mapping(value, place))
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from None


def _show(value: Any) -> str:
    return repr(value)[:80]
