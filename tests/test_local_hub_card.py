"""Model cards on the local Hub."""

import pytest
from huggingface_hub import ModelCard

from tests.hub_fixtures import MODEL, add


@pytest.mark.parametrize(
    ("head", "message"),
    [
        ("license: mine", '"license" must be one of'),
        ("tags:\n- 1", '"tags" must be a string or an array of strings'),
        ("tags: [", "YAML of the metadata is invalid"),
        ("- a list", "must be a mapping"),
    ],
)
def test_card_with_errors_is_refused(hub, hub_api, hub_model, head, message):
    readme = f"---\n{head}\n---\n# Model\n"
    with pytest.raises(ValueError, match=message):
        hub_api.create_commit(MODEL, add({"README.md": readme.encode()}), commit_message="Card")
    assert hub.commits(MODEL)[0].oid == hub_model


def test_card_is_read(hub, hub_api, hub_model):
    card = ModelCard("---\nlicense: mit\ntags:\n- linking\nlibrary_name: hf_blink\n---\n# Model\n")
    card.validate()
    card.push_to_hub(MODEL)
    info = hub_api.model_info(MODEL)
    assert (info.card_data.license, info.tags, info.library_name) == ("mit", ["linking"], "hf_blink")
    with pytest.warns(UserWarning, match="empty or missing yaml metadata"):
        hub_api.create_commit(MODEL, add({"README.md": b"# Model"}), commit_message="Bare card")
