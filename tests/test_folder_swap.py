"""Tests of replacing a folder."""

import os

import pytest

from hf_blink.modeling.folder_swap import swap_folder


def fill(folder, **files):
    for name, text in files.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def content(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()
    }


def test_a_new_target_is_a_rename(tmp_path):
    swap_folder(fill(tmp_path / "new", a="1"), tmp_path / "target", set())
    assert content(tmp_path) == {"target/a": "1"}


def test_ours_go_and_others_stay(tmp_path):
    target = fill(
        tmp_path / "target",
        a="old",
        gone="old",
        mine="m",
        sub__gone="old",
        sub__mine="m",
        own__x="m",
        both__mine="m",
    )
    (target / "own" / "empty").mkdir()
    target.chmod(0o750)
    new = fill(tmp_path / "new", a="new", sub__b="new", both__b="new")
    swap_folder(new, target, {"a", "gone", "sub/gone"})
    assert content(tmp_path) == {
        "target/a": "new",
        "target/mine": "m",
        "target/sub/b": "new",
        "target/sub/mine": "m",
        "target/own/x": "m",
        "target/both/b": "new",
        "target/both/mine": "m",
    }
    assert (target / "own" / "empty").is_dir() and target.stat().st_mode & 0o777 == 0o750


def test_moved_files_are_the_same_files(tmp_path):
    target = fill(tmp_path / "target", mine="m")
    inode = (target / "mine").stat().st_ino
    swap_folder(fill(tmp_path / "new", a="1"), target, set())
    assert (target / "mine").stat().st_ino == inode


@pytest.mark.parametrize("failing", [1, 2, 3, 4, 5])
def test_a_failure_at_any_rename_restores_the_old_folder(tmp_path, monkeypatch, failing):
    target = fill(tmp_path / "target", a="old", mine="m", own__x="m", sub__mine="m", sub__gone="old")
    before = content(target)
    new = fill(tmp_path / "new", a="new", sub__b="new")
    rename, calls = os.rename, []

    def count(source, destination):
        calls.append(source)
        if len(calls) == failing:
            raise OSError("disk gone")
        rename(source, destination)

    monkeypatch.setattr(os, "rename", count)
    with pytest.raises(OSError, match="disk gone"):
        swap_folder(new, target, {"a", "sub/gone"})
    assert content(target) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "target"]
