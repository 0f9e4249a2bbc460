"""A run that is stopped while it encodes the entities for a mining, and started again: the blocks it had are kept."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from hf_blink.training import remining, sharded_encoding, train_biencoder, train_crossencoder
from hf_blink.training.hard_negatives import HardNegativeMiner
from hf_blink.training.remining import mined_rows
from hf_blink.training.sharded_encoding import build_shared_index
from tests import test_train_biencoder, test_train_crossencoder

biencoder_recipe, crossencoder_recipe = test_train_biencoder.recipe, test_train_crossencoder.recipe

Encode = Callable[[int], list[int]]


@pytest.fixture
def blocks_until(monkeypatch) -> Encode:
    """`blocks_until(n)`: entities are encoded in blocks of two, and the run is stopped at block n; gives the blocks' sizes."""
    monkeypatch.setitem(build_shared_index.__kwdefaults__, "block_size", 2)
    real = sharded_encoding.encode_entities

    def begin(stop: int) -> list[int]:
        encoded: list[int] = []

        def encode(model, processor, titles, descriptions, **options):
            if len(encoded) == stop:
                raise KeyboardInterrupt
            encoded.append(len(titles))
            return real(model, processor, titles, descriptions, **options)

        monkeypatch.setattr(sharded_encoding, "encode_entities", encode)
        return encoded

    return begin


def test_a_mining_goes_on_with_the_blocks_of_the_same_model(
    blocks_until, bi_encoder, processor, knowledge_base, mentions, tmp_path
):
    folder = tmp_path / "vectors"
    expected = HardNegativeMiner(processor, knowledge_base, progress=False).mine(bi_encoder, mentions)
    miner = HardNegativeMiner(processor, knowledge_base, folder=folder, progress=False)
    blocks_until(1)
    with pytest.raises(KeyboardInterrupt):
        miner.mine(bi_encoder, mentions)
    assert len(list(folder.glob("rows-*.npy"))) == 1
    encoded = blocks_until(9)
    np.testing.assert_array_equal(miner.mine(bi_encoder, mentions), expected)
    assert encoded == [2, 2], "six entities, of which two were there"
    assert len(list(folder.glob("rows-*.npy"))) == 3
    miner.forget()
    assert not folder.exists()


def test_blocks_of_another_model_do_not_count(
    blocks_until, bi_encoder, processor, knowledge_base, mentions, tmp_path
):
    miner = HardNegativeMiner(processor, knowledge_base, folder=tmp_path / "vectors", progress=False)
    blocks_until(2)
    with pytest.raises(KeyboardInterrupt):
        miner.mine(bi_encoder, mentions)
    bi_encoder.mention_encoder.embeddings.word_embeddings.weight.data.mul_(-1)
    encoded = blocks_until(9)
    miner.mine(bi_encoder, mentions)
    assert encoded == [2, 2, 2]


def test_encoded_blocks_are_there_until_the_negatives_are_in_their_file(
    blocks_until, bi_encoder, processor, knowledge_base, mentions, tmp_path, monkeypatch
):
    file, folder = tmp_path / "mined/epoch-0.npz", tmp_path / "vectors"
    miner = HardNegativeMiner(processor, knowledge_base, folder=folder, progress=False)
    encoded = blocks_until(9)
    with monkeypatch.context() as full, pytest.raises(OSError, match="disk is full"):
        full.setattr(remining, "written_whole", raise_full)
        mined_rows(miner, bi_encoder, mentions, 0, file)
    assert not file.exists() and folder.exists()
    rows = mined_rows(miner, bi_encoder, mentions, 0, file)
    assert encoded == [2, 2, 2], "none was encoded again"
    assert file.is_file() and not folder.exists()
    np.testing.assert_array_equal(rows, miner.mine(bi_encoder, mentions))
    np.testing.assert_array_equal(rows, mined_rows(miner, bi_encoder, mentions, 0, file))
    assert not folder.exists()


def raise_full(file: Path) -> None:
    raise OSError("the disk is full")


def test_a_bi_encoder_run_that_is_stopped_in_a_mining_is_resumed(blocks_until, biencoder_recipe, tmp_path):
    options = ["--max_steps", "2", "--save_strategy", "no"]
    blocks_until(1)
    with pytest.raises(KeyboardInterrupt):
        train_biencoder.main([str(biencoder_recipe), *options])
    vectors = tmp_path / "out/round_1/mined/vectors"
    assert len(list(vectors.iterdir())) == 1 and (tmp_path / "out/round_0/round.json").is_file()
    encoded = blocks_until(9)
    train_biencoder.main([str(biencoder_recipe), *options, "--resume", "true"])
    assert encoded == [2, 2] and not vectors.exists()


def test_a_cross_encoder_run_that_is_stopped_in_a_mining_is_started_again(
    blocks_until, crossencoder_recipe, tmp_path
):
    evaluation = ["--evaluation", str(tmp_path / "mentions.jsonl")]
    blocks_until(1)
    with pytest.raises(KeyboardInterrupt):
        train_crossencoder.main([str(crossencoder_recipe)])
    (vectors,) = Path(tmp_path).rglob("candidates/vectors")
    encoded = blocks_until(9)
    train_crossencoder.main([str(crossencoder_recipe), "--resume", "true", *evaluation])
    assert encoded == [2, 2] and not vectors.exists()
