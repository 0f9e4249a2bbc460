"""Files of torch.save and settings as BLINK and ELQ wrote them; pickles with code are refused."""

import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from hf_blink.original_files import existing_file, read_checkpoint, read_settings, setting

FORMS = pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before torch 1.6"])


class Code:
    """Unpickled, it makes a folder."""

    def __init__(self, mark: Path) -> None:
        self._mark = str(mark)

    def __reduce__(self):
        return os.mkdir, (self._mark,)


def save(content, path: Path, zipped: bool = True) -> Path:
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    return path


@FORMS
def test_read_checkpoint_gives_a_tensor_mapped(tmp_path, zipped):
    vectors = torch.arange(60, dtype=torch.float32).view(5, 3, 4)
    file = save(vectors, tmp_path / "all.t7", zipped)
    found = read_checkpoint(file, "vectors")
    with file.open(
        "r+b"
    ) as stream:  # what is written to the file afterwards is seen: it was not read, but mapped
        stream.seek(file.read_bytes().index(vectors.numpy().tobytes()))
        stream.write(np.float32(-1).tobytes())
    assert found[0, 0, 0] == -1
    assert torch.equal(found.flatten()[1:], vectors.flatten()[1:])


@FORMS
def test_read_checkpoint_keeps_a_slice_of_a_larger_storage(tmp_path, zipped):
    vectors = torch.randn(6, 8, 4)[1:, 2, :]  # ELQ saves such slices of all tokens' states
    found = read_checkpoint(save(vectors, tmp_path / "all.t7", zipped), "vectors")
    assert torch.equal(found, vectors)
    assert found.stride() == (32, 1)


@FORMS
def test_read_checkpoint_gives_a_dictionary(tmp_path, zipped):
    content = {"a": torch.randn(2, 3), "b": torch.tensor([1, 2])}
    found = read_checkpoint(save(content, tmp_path / "model.bin", zipped), "weights")
    assert list(found) == ["a", "b"]
    assert all(torch.equal(found[name], value) for name, value in content.items())


def test_writing_to_a_mapped_tensor_leaves_the_file(tmp_path):
    file = save(torch.ones(4), tmp_path / "all.t7", zipped=False)
    read_checkpoint(file, "vectors").mul_(2)
    assert torch.equal(torch.load(file, weights_only=True), torch.ones(4))


@FORMS
def test_a_pickle_with_code_is_refused_and_not_run(tmp_path, zipped):
    file = save({"a": Code(tmp_path / "mark")}, tmp_path / "bad.bin", zipped)
    with pytest.raises(
        ValueError, match=r"the weights in .* as plain tensors, got a pickle that asks for \w+\.mkdir"
    ):
        read_checkpoint(file, "the weights")
    assert not (tmp_path / "mark").exists()


def test_a_plain_pickle_of_code_is_refused_and_not_run(tmp_path):
    (tmp_path / "bad.t7").write_bytes(pickle.dumps(Code(tmp_path / "mark"), protocol=2))
    with pytest.raises(ValueError, match="expected vectors"):
        read_checkpoint(tmp_path / "bad.t7", "vectors")
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize("content", [b"", b"no pickle at all", b"PK\x03\x04 but no archive"])
def test_other_files_are_refused(tmp_path, content):
    (tmp_path / "all.t7").write_bytes(content)
    with pytest.raises(
        ValueError, match="written by torch.save, got a file that is damaged, cut or of another kind"
    ):
        read_checkpoint(tmp_path / "all.t7", "vectors")


@pytest.mark.parametrize("magic", [b"IxFI", b"IxF2", b"IHNf", b"IwFl"])
def test_a_faiss_file_is_told(tmp_path, magic):
    (tmp_path / "faiss_flat_index.pkl").write_bytes(magic + bytes(60))
    with pytest.raises(
        ValueError, match=r"expected vectors in .*, got a FAISS index; give it to --index \(index=\)$"
    ):
        read_checkpoint(tmp_path / "faiss_flat_index.pkl", "vectors")


@FORMS
def test_a_cut_file_is_refused(tmp_path, zipped):
    file = save(torch.randn(50, 50), tmp_path / "all.t7", zipped)
    file.write_bytes(file.read_bytes()[:-600])
    with pytest.raises(ValueError, match="damaged, cut or of another kind.*download it again"):
        read_checkpoint(file, "vectors")


def test_missing_files_and_pointers_are_named(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"expected the index at .*none\.pkl', got nothing \(looked from"
    ):
        existing_file(tmp_path / "none.pkl", "the index")
    with pytest.raises(FileNotFoundError, match="got a folder"):
        existing_file(tmp_path, "the index")
    (tmp_path / "pointer").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    with pytest.raises(ValueError, match="got a Git LFS pointer; download the file itself"):
        existing_file(tmp_path / "pointer", "the index")


@pytest.mark.parametrize(
    "text", [json.dumps({"lowercase": True, "x": None}), "{'lowercase': True, 'x': None}\n"]
)
def test_read_settings_reads_json_and_a_python_literal(tmp_path, text):
    (tmp_path / "params").write_text(text)
    assert read_settings(tmp_path / "params", "settings") == {"lowercase": True, "x": None}


@pytest.mark.parametrize(
    "content", [b"[1]", b"{1: 2}", b"__import__('os').mkdir('x')", b"\xff\xfe", b"x" * 2**20 + b"x"]
)
def test_other_settings_are_refused(tmp_path, content):
    (tmp_path / "params").write_bytes(content)
    with pytest.raises(
        ValueError, match="a JSON object or one line with a Python dictionary, got something else"
    ):
        read_settings(tmp_path / "params", "settings")


def test_setting_has_a_type_and_perhaps_a_default():
    assert setting({"n": 3}, "n", int, ...) == 3
    assert setting({"n": None}, "n", int, 5) == 5
    for settings, got in (({}, "nothing"), ({"n": True}, "True"), ({"n": "3"}, "'3'")):
        with pytest.raises(ValueError, match=f"the setting 'n' to be of type int, got {got}"):
            setting(settings, "n", int, ...)
