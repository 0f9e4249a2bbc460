"""transformers knows our model types and our task, whichever package was imported first."""

import os
import subprocess
import sys

import pytest
from transformers import AutoConfig, AutoModel, AutoProcessor
from transformers.pipelines import PIPELINE_REGISTRY

import hf_blink
from hf_blink import transformers_registration as registration

# Each starts another chain: our modules loaded from inside transformers, or transformers from inside ours.
ORDERS = [
    "import hf_blink; from transformers import pipeline",
    "from transformers import pipeline; import hf_blink",
    "import hf_blink; from transformers import AutoModel",
    "import hf_blink; from transformers import AutoTokenizer",
    "from hf_blink import EntityLinkingPipeline",
    "from hf_blink import EntityLinker",
    "from hf_blink import BlinkCrossEncoder",
    "from hf_blink import InBatchTrainer",
]
FORKED = """
import os, sys
import datasets, faiss, torch  # the slow ones, once for all children
assert "transformers" not in sys.modules
for order in sys.stdin.read().splitlines():
    child = os.fork()
    if child == 0:
        try:
            exec(order)
            from transformers import AutoConfig, AutoModel, AutoProcessor, pipeline
            from transformers.pipelines import PIPELINE_REGISTRY, check_task
            from hf_blink import BlinkBiEncoderConfig, BlinkCrossEncoderConfig, EntityLinkingPipeline
            from hf_blink.transformers_registration import _waiting
            assert type(AutoConfig.for_model("blink-biencoder")) is BlinkBiEncoderConfig
            assert type(AutoConfig.for_model("blink-crossencoder")) is BlinkCrossEncoderConfig
            for auto in (AutoModel._model_mapping, sys.modules[AutoProcessor.__module__].PROCESSOR_MAPPING):
                assert BlinkBiEncoderConfig in auto and BlinkCrossEncoderConfig in auto
            assert check_task("entity-linking")[1]["impl"] is EntityLinkingPipeline
            assert not _waiting
        except BaseException as error:
            print(f"{order}: {error!r}", flush=True)
        os._exit(0)
    os.waitpid(child, 0)
print("done")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks, so that Python starts once")
def test_every_import_order_registers_everything():
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORKED],
        input="\n".join(ORDERS),
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert result.stdout.splitlines() == ["done"], result.stdout + result.stderr


def test_auto_classes_load_what_was_saved(tmp_path, bi_encoder, cross_encoder, processor):
    for model, name in ((bi_encoder, "BlinkBiEncoder"), (cross_encoder, "BlinkCrossEncoder")):
        folder = tmp_path / name
        model.save_pretrained(folder)
        processor.save_pretrained(folder)
        assert type(AutoConfig.from_pretrained(folder)).__name__ == f"{name}Config"
        assert type(AutoModel.from_pretrained(folder)) is getattr(hf_blink, name)
        assert type(AutoProcessor.from_pretrained(folder)) is hf_blink.BlinkProcessor


def test_task_builds_our_pipeline():
    task = PIPELINE_REGISTRY.check_task("entity-linking")[1]
    assert task["impl"] is hf_blink.EntityLinkingPipeline
    assert task["pt"] == (AutoModel,)


def test_every_modeling_file_is_watched():
    modules = registration._modeling_modules()
    assert {"hf_blink.modeling.linking_types", "hf_blink.modeling.entity_linker"} <= set(modules)
    assert set(modules) <= registration._watched
    assert "hf_blink.modeling.__init__" not in modules


def test_registration_waits_while_a_watched_module_is_loading(monkeypatch):
    calls = []
    outer, inner = type(sys)("outer"), type(sys)("inner")
    outer.__spec__ = type("Spec", (), {"_initializing": True})()
    monkeypatch.setitem(sys.modules, "outer", outer)
    monkeypatch.setattr(registration, "_watched", {"outer", "inner"})
    monkeypatch.setattr(registration, "_waiting", [])
    monkeypatch.setattr(registration, "_REGISTRATION_AFTER", {"inner": lambda: calls.append("inner")})
    registration._after_import(inner)
    assert calls == []
    registration._after_import(outer)
    assert calls == ["inner"]
    registration._after_import(outer)
    assert calls == ["inner"]


def test_failed_registration_is_tried_again(monkeypatch):
    calls = []

    def fails_once() -> None:
        calls.append(1)
        if len(calls) == 1:
            raise ImportError("not yet")

    registry, other = type(sys)("registry"), type(sys)("other")
    monkeypatch.setattr(registration, "_watched", {"registry", "other"})
    monkeypatch.setattr(registration, "_waiting", [])
    monkeypatch.setattr(registration, "_REGISTRATION_AFTER", {"registry": fails_once})
    with pytest.raises(ImportError, match="not yet"):
        registration._after_import(registry)
    registration._after_import(other)
    assert len(calls) == 2
    assert not registration._waiting
