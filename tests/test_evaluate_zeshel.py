"""Zeshel's protocol from end to end: trained and measured from the files as published, with three commands."""

import json
from importlib.resources import files
from pathlib import Path

import pytest
import yaml

from hf_blink.training import evaluate_zeshel, train_biencoder, train_crossencoder
from tests.oracle import ORACLE
from tests.zeshel_corpus import ENTITIES, MENTIONS, SPLITS, write_corpus

MINI_ZESHEL = ORACLE.parent / "checkpoints" / "mini_zeshel"


def recipe(name: str, folder: Path, **changes) -> str:
    """A recipe of the package on the corpus in the folder, small."""
    values = yaml.safe_load(
        (Path(str(files("hf_blink.training"))) / "recipes" / f"{name}.yaml").read_text("utf-8")
    )
    for key in {"train", "dev", "evaluation"} & values.keys():
        values[key] = [path.replace("zeshel/", f"{folder}/") for path in values[key]]
    values |= {"documents": str(folder / "documents"), "use_cpu": True, "disable_tqdm": True, "max_steps": 2}
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump({**values, **changes}))
    return str(path)


def run_protocol(corpus: Path, encoder: str, out: Path, **changes) -> dict[str, float]:
    """The commands of docs/training.md; the test split's metrics."""
    bi, cross = str(out / "bi"), str(out / "cross")
    small = {"base_model": encoder, "per_device_train_batch_size": 4}
    lengths = {
        "mention_length": 64,
        "entity_length": 64,
    }  # the tiny encoder has positions for a pair of these
    train_biencoder.main([recipe("zeshel_biencoder", corpus, output_dir=bi, **lengths, **small, **changes)])
    train_crossencoder.main([recipe("zeshel_crossencoder", corpus, bi_encoder=bi, output_dir=cross, **small)])
    models = ["--bi_encoder", bi, "--cross_encoder", cross]
    where = ["--documents", str(corpus / "documents"), "--mentions", str(corpus / "mentions/test.json")]
    return evaluate_zeshel.main([*where, *models, "--output_dir", str(out / "test"), "--use_cpu"])


@pytest.fixture(scope="module")
def generated(tiny_encoder, tmp_path_factory) -> tuple[Path, Path, dict[str, float]]:
    corpus, out = tmp_path_factory.mktemp("zeshel"), tmp_path_factory.mktemp("runs")
    write_corpus(corpus)
    return corpus, out, run_protocol(corpus, tiny_encoder, out)


def test_each_split_has_worlds_of_its_own_and_a_worlds_entities_are_the_candidates(generated):
    _, out, metrics = generated
    assert json.loads((out / "test/metrics.json").read_text()) == metrics
    assert metrics["num_worlds"] == 4 and metrics["num_entities"] == 4 * ENTITIES
    assert metrics["num_mentions"] == 4 * MENTIONS
    assert {key.split("/")[1] for key in metrics if key.startswith("world/")} == set(SPLITS["test"])
    assert metrics["recall@64"] == 1.0, "all five entities of a world"
    assert json.loads((out / "cross/data.json").read_text())["dev_mentions"]
    assert not (out / "cross/metrics.json").exists(), "the four worlds of val choose, and no more"
    assert json.loads((out / "bi/round_0/round.json").read_text())["num_mentions"] == 8 * MENTIONS


def test_accuracies_are_blinks(generated):
    """Normalised over the mentions whose gold entity is a candidate, unnormalised over all, macro over worlds."""
    _, _, metrics = generated
    own = [metrics[f"world/{world}/accuracy_unnormalised"] for world in SPLITS["test"]]
    assert metrics["accuracy_unnormalised_macro"] == pytest.approx(sum(own) / 4)
    assert metrics["accuracy_normalised"] * metrics["recall@64"] == pytest.approx(
        metrics["accuracy_unnormalised"]
    )


def test_the_table_has_a_line_for_each_world(generated, caplog):
    corpus, out, _ = generated
    where = ["--documents", str(corpus / "documents"), "--mentions", str(corpus / "mentions/val.json")]
    with caplog.at_level("INFO"):
        alone = evaluate_zeshel.main(
            [*where, "--bi_encoder", str(out / "bi"), "--output_dir", str(out / "val"), "--use_cpu"]
        )
    table = next(text for text in caplog.messages if text.startswith("world")).splitlines()
    assert table[0].split() == ["world", "mentions", "entities", "R@1", "R@64", "normalised", "unnormalised"]
    assert [line.split()[0] for line in table[1:]] == [*SPLITS["val"], "macro", "micro"]
    assert table[1].split()[1:3] == [str(MENTIONS), str(ENTITIES)] and table[-1].split()[2] == str(
        4 * ENTITIES
    )
    assert alone["accuracy_unnormalised"] == alone["recall@1"], "without a cross-encoder"


def test_another_kind_of_model_is_refused(generated):
    corpus, out, _ = generated
    where = ["--documents", str(corpus / "documents"), "--mentions", str(corpus / "mentions/val.json")]
    with pytest.raises(
        ValueError, match="expected a trained blink-biencoder at bi_encoder: .*got blink-crossencoder"
    ):
        evaluate_zeshel.main(
            [*where, "--bi_encoder", str(out / "cross"), "--output_dir", str(out / "x"), "--use_cpu"]
        )


def test_the_small_corpus_of_sixteen_worlds(tiny_encoder, tmp_path):
    """Four entities a world; its recipes lie beside copies of its folders."""
    if not MINI_ZESHEL.is_dir():
        pytest.skip(f"no small Zeshel at {MINI_ZESHEL}; HF_BLINK_ORACLE names the file in the folder above")
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for name in ("documents", "mentions"):
        (corpus / name).symlink_to(MINI_ZESHEL / name)
    metrics = run_protocol(corpus, tiny_encoder, tmp_path, hard_negative_rounds=0)
    assert (metrics["num_worlds"], metrics["num_entities"], metrics["num_mentions"]) == (4, 16, 8)
    assert metrics["recall@64"] == 1.0
    assert 0 <= metrics["accuracy_normalised_macro"] == metrics["accuracy_unnormalised_macro"] <= 1
