"""Names of weights in a file of others and in ours, as one table that is read in both directions.

A table has pairs of prefixes, `("context_encoder.bert_model.", "mention_encoder.")`; what follows a prefix keeps its
name. Renaming is strict: every weight of the file has its place and every place gets its weight, or there is an error.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

_PARALLEL = "module."  # what torch's DataParallel puts before every name
_NO_WEIGHTS = "embeddings.position_ids"  # a buffer of older BERT classes: 0, 1, 2, ...
_SHOWN = 5


@dataclass(frozen=True)
class NameTable:
    """Pairs of prefixes.

    Attributes:
        source: whose names the first of each pair are, for errors, such as "BLINK's bi-encoder".
        prefixes: (theirs, ours); no prefix begins another of its side.
    """

    source: str
    prefixes: tuple[tuple[str, str], ...]

    def ours(self, theirs: str) -> str | None:
        """Our name of one of their weights; None if it has no place."""
        return _renamed(theirs, self.prefixes)

    def theirs(self, ours: str) -> str | None:
        """Their name of one of our weights; None if it has no place."""
        return _renamed(ours, tuple((new, old) for old, new in self.prefixes))

    def to_ours(self, state: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Their weights under our names.

        Args:
            state: their state dict.
            expected: ours, which says the names and shapes that are wanted.

        Raises:
            ValueError: a weight without a place, a place without a weight, or another shape.
        """
        if state and all(name.startswith(_PARALLEL) for name in state):
            state = {name.removeprefix(_PARALLEL): value for name, value in state.items()}
        found: dict[str, Tensor] = {}
        strange = []
        for name, value in state.items():
            place = self.ours(name)
            if not isinstance(value, Tensor) or place is None or place not in expected:
                if not name.endswith(_NO_WEIGHTS):
                    strange.append(name)
            else:
                found[place] = value
        missing = [self.theirs(place) or place for place in expected if place not in found]
        if strange or missing:
            raise ValueError(
                f"expected the weights of {self.source}, got a file without {_some(missing)} and with "
                f"{_some(strange)} that has no place; its settings, or --bert-model, may be another model's"
            )
        self._check_shapes(found, expected)
        return found

    def to_theirs(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Our weights under their names, in their order: that of the table, then that of the model.

        Raises:
            ValueError: a weight that they have no name for.
        """
        if lonely := [name for name in state if self.theirs(name) is None]:
            raise ValueError(
                f"expected weights that {self.source} has, got {_some(lonely)}; that model cannot be written in this form"
            )
        order = [new for _, new in self.prefixes]
        names = sorted(state, key=lambda name: next(i for i, new in enumerate(order) if name.startswith(new)))
        return {str(self.theirs(name)): state[name] for name in names}

    def _check_shapes(self, found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
        wrong = [name for name, value in found.items() if value.shape != expected[name].shape]
        if wrong:
            name = wrong[0]
            raise ValueError(
                f"expected weights of {self.source} with the shapes of its configuration, got {self.theirs(name)} of "
                f"shape {list(found[name].shape)} for {list(expected[name].shape)}; name the encoder that it was trained "
                "from with --bert-model (bert_model=)"
            )


def _renamed(name: str, prefixes: tuple[tuple[str, str], ...]) -> str | None:
    for old, new in prefixes:
        if name.startswith(old):
            return new + name.removeprefix(old)
    return None


def _some(names: list[str]) -> str:
    if not names:
        return "none"
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
