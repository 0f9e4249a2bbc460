"""`hf-blink push`, `push-space` and `serve` as users type them; the demo has a browser test of its own."""

import json
import re
import subprocess
import sys
import time

import httpx
import pytest
import yaml
from huggingface_hub import HfApi

from hf_blink.cli import main
from hf_blink.modeling.entity_linker import EntityLinker


@pytest.fixture
def folder(linker, tmp_path) -> str:
    linker.save_pretrained(tmp_path / "linker")
    return str(tmp_path / "linker")


def test_push_uploads_a_folder_with_its_card(folder, hub, tmp_path, capsys):
    metrics = {
        "recall@1": 0.5,
        "num_mentions": 2,
        "num_entities": 6,
        "num_nil": 0,
        "num_worlds": 0,
        "seconds": 1.0,
    }
    (tmp_path / "metrics.json").write_text(json.dumps(metrics))
    described = ["--license", "mit", "--language", "en", "--private"]
    options = [*described, "--metrics", f"my set={tmp_path / 'metrics.json'}"]
    assert main(["push", folder, "user/linker", *options]) == 0
    assert hub.commits("user/linker")[0].oid in capsys.readouterr().out
    card = hub.files("user/linker")["README.md"].decode()
    assert "my set" in card and "license: mit" in card
    assert len(EntityLinker.from_pretrained("user/linker").knowledge_base) == 6
    assert main(["push", folder, "user/linker", "--metrics", "metrics.json"]) == 2
    assert "expected --metrics NAME=FILE" in capsys.readouterr().err
    named = ["--metrics", f"user/data:test={tmp_path / 'metrics.json'}", "--benchmark"]
    assert main(["push", folder, "user/linker", *named, "user/data:test=linking:recall@1"]) == 0
    (entry,) = yaml.safe_load(hub.files("user/linker")[".eval_results/user_data.yaml"])
    assert entry["dataset"] == {"id": "user/data", "task_id": "linking"} and entry["value"] == 0.5
    for wrong, said in (
        ("user/data:test", "expected --benchmark NAME=TASK, got 'user/data:test'"),
        (
            "user/other=linking",
            "expected benchmarks among the sets with metrics (user/data:test), got user/other",
        ),
        ("user/data:test=linking", "expected a metric among recall@1, got 'accuracy_unnormalised'"),
    ):
        assert main(["push", folder, "user/linker", *named, wrong]) == 2
        assert said in capsys.readouterr().err
    assert main(["push", folder, "other/linker"]) == 2
    assert "hf auth login" in capsys.readouterr().err
    assert main(["push", str(tmp_path), "user/x"]) == 2


def test_push_space_uploads_the_demo(hub, capsys):
    assert main(["push-space", "user/linker"]) == 0
    files = hub.files("user/linker-demo", repo_type="space")
    assert b"user/linker" in files["app.py"] and b"sdk: gradio" in files["README.md"]
    assert len(hub.commits("user/linker-demo", repo_type="space")) == 2
    HfApi().upload_file(
        path_or_fileobj=b"mine", path_in_repo="app.py", repo_id="user/linker-demo", repo_type="space"
    )
    assert main(["push-space", "user/linker"]) == 0
    assert hub.files("user/linker-demo", repo_type="space")["app.py"] == b"mine"
    assert main(["push-space", "user/linker", "--overwrite"]) == 0
    assert hub.files("user/linker-demo", repo_type="space")["app.py"] == files["app.py"]
    assert main(["push-space", "linker", "--space", "user/x"]) == 2
    assert "org/name" in capsys.readouterr().err


def test_serve_answers_over_http_until_it_is_told_to_stop(folder):
    command = [sys.executable, "-m", "hf_blink", "serve", folder, "--port", "0", "--max-texts", "2"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            address = _address(process)
            answer = httpx.post(f"{address}/link", json={"inputs": "Paris is a town."}, timeout=60)
            assert answer.json()[0]["word"] == "Paris"
            assert httpx.post(f"{address}/link", json={"inputs": ["a"] * 3}).status_code == 422
            assert httpx.get(f"{address}/health").json()["status"] == "ok"
        finally:
            process.terminate()
        assert process.wait(30) == 0


def test_the_documentation_page_shows_the_paths_without_the_internet(folder, open_page):
    command = [sys.executable, "-m", "hf_blink", "serve", folder, "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            page = open_page(f"{_address(process)}/docs")
            for path in ("/link", "/entities/{id}", "/health", "/metrics"):
                page.get_by_role("link", name=path, exact=True).wait_for()
        finally:
            process.terminate()
        assert process.wait(30) == 0


def _address(process) -> str:
    deadline = time.monotonic() + 120
    for line in process.stderr:
        if "http://127.0.0.1:" in line:
            return "http://127.0.0.1:" + re.split(r"\D", line.split("http://127.0.0.1:")[1])[0]
        assert time.monotonic() < deadline
    raise AssertionError("the server ended")
