"""Names of weights in files of others and in ours, both ways."""

import pytest
import torch

from hf_blink.name_table import NameTable

TABLE = NameTable("their model", (("ctx.bert.", "mention."), ("cand.bert.", "entity.")))
THEIRS = {"cand.bert.w": torch.zeros(2), "ctx.bert.w": torch.ones(2), "ctx.bert.b": torch.ones(1)}
OURS = {"mention.w": torch.ones(2), "mention.b": torch.ones(1), "entity.w": torch.zeros(2)}


def test_names_both_ways():
    assert TABLE.ours("ctx.bert.w") == "mention.w"
    assert TABLE.theirs("entity.w") == "cand.bert.w"
    assert TABLE.ours("other.w") is None
    assert TABLE.theirs("other.w") is None


def test_weights_both_ways():
    found = TABLE.to_ours(THEIRS, OURS)
    assert found.keys() == OURS.keys()
    assert all(torch.equal(found[name], value) for name, value in OURS.items())
    back = TABLE.to_theirs(OURS)
    assert list(back) == ["ctx.bert.w", "ctx.bert.b", "cand.bert.w"]  # the table's order
    assert all(back[str(TABLE.theirs(name))] is value for name, value in OURS.items())


def test_names_of_a_parallel_model_and_old_buffers_are_passed_over():
    parallel = {f"module.{name}": value for name, value in THEIRS.items()}
    parallel["module.ctx.bert.embeddings.position_ids"] = torch.arange(3)
    assert TABLE.to_ours(parallel, OURS).keys() == OURS.keys()


def test_missing_and_strange_weights_are_named():
    state = {"ctx.bert.w": torch.ones(2), "head.w": torch.ones(1), "cand.bert.w": torch.zeros(2)}
    with pytest.raises(
        ValueError, match=r"the weights of their model, got a file without ctx\.bert\.b and with head\.w"
    ):
        TABLE.to_ours(state, OURS)
    with pytest.raises(
        ValueError, match="without ctx.bert.w, ctx.bert.b, cand.bert.w and with none that has no place"
    ):
        TABLE.to_ours({}, OURS)


def test_other_shapes_are_named():
    with pytest.raises(ValueError, match=r"got cand\.bert\.w of shape \[3\] for \[2\]; name the encoder"):
        TABLE.to_ours({**THEIRS, "cand.bert.w": torch.zeros(3)}, OURS)


def test_a_weight_that_they_do_not_have_is_refused():
    with pytest.raises(ValueError, match="expected weights that their model has, got score.w"):
        TABLE.to_theirs({**OURS, "score.w": torch.ones(1)})
