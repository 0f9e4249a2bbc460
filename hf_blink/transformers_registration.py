"""Registers the model types and the pipeline task with transformers once transformers is loaded, not before.

`import hf_blink` must load neither torch nor transformers, yet `pipeline("entity-linking", ...)` and
`AutoModel.from_pretrained(...)` must know our classes, whichever package was imported first. So a hook runs
after the import of each transformers module that holds a registry; at once, when the module is there already.

The hook cannot simply import our class and register it. transformers loads its parts from inside each other
(the module of AutoTokenizer loads modeling_auto half way, modeling_utils loads configuration_auto), and often
one of our own modules is what loads transformers: an import from inside would meet half-loaded modules. So:

1. when the module of a registry has been loaded, its registration goes on a waiting list;
2. the list is worked off after an import that leaves none of the watched modules half loaded; watched are all
   of hf_blink.modeling and the transformers modules that it takes names from;
3. every watched module has the hook, so the outermost of them works the list off.
"""

import sys
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

from wrapt import register_post_import_hook


def _register_configs() -> None:
    from transformers import AutoConfig

    from hf_blink.modeling.configuration_blink import BlinkBiEncoderConfig, BlinkCrossEncoderConfig
    from hf_blink.modeling.configuration_elq import ElqConfig

    AutoConfig.register(ElqConfig.model_type, ElqConfig)
    AutoConfig.register(BlinkBiEncoderConfig.model_type, BlinkBiEncoderConfig)
    AutoConfig.register(BlinkCrossEncoderConfig.model_type, BlinkCrossEncoderConfig)


def _register_models() -> None:
    from transformers import AutoModel

    from hf_blink.modeling.configuration_blink import BlinkBiEncoderConfig, BlinkCrossEncoderConfig
    from hf_blink.modeling.configuration_elq import ElqConfig
    from hf_blink.modeling.modeling_blink_biencoder import BlinkBiEncoder
    from hf_blink.modeling.modeling_blink_crossencoder import BlinkCrossEncoder
    from hf_blink.modeling.modeling_elq import ElqModel

    AutoModel.register(ElqConfig, ElqModel)
    AutoModel.register(BlinkBiEncoderConfig, BlinkBiEncoder)
    AutoModel.register(BlinkCrossEncoderConfig, BlinkCrossEncoder)


def _register_processors() -> None:
    from transformers import AutoProcessor

    from hf_blink.modeling.configuration_blink import BlinkBiEncoderConfig, BlinkCrossEncoderConfig
    from hf_blink.modeling.configuration_elq import ElqConfig
    from hf_blink.modeling.processing_blink import BlinkProcessor
    from hf_blink.modeling.processing_elq import ElqProcessor

    AutoProcessor.register(ElqConfig, ElqProcessor)
    AutoProcessor.register(BlinkBiEncoderConfig, BlinkProcessor)
    AutoProcessor.register(BlinkCrossEncoderConfig, BlinkProcessor)


def _register_pipeline() -> None:
    from transformers import AutoModel
    from transformers.pipelines import PIPELINE_REGISTRY

    from hf_blink.modeling.pipeline_entity_linking import EntityLinkingPipeline

    PIPELINE_REGISTRY.register_pipeline(
        "entity-linking", pipeline_class=EntityLinkingPipeline, pt_model=AutoModel, type="text"
    )


def _register_cards() -> None:
    from hf_blink.modeling.hub_transfer import EXTRA_FILES

    EXTRA_FILES.append(_card_of_a_push)


def _card_of_a_push(part: Any, folder: Path, repo_id: str) -> Mapping[str, str]:
    from hf_blink.hub import default_files

    return default_files(part, folder, repo_id)


_REGISTRATION_AFTER: dict[str, Callable[[], None]] = {
    "hf_blink.modeling.hub_transfer": _register_cards,
    "transformers.models.auto.configuration_auto": _register_configs,
    "transformers.models.auto.modeling_auto": _register_models,
    "transformers.models.auto.processing_auto": _register_processors,
    "transformers.pipelines": _register_pipeline,
}
_OTHERS_IN_USE = (  # modules that load a registry from inside, or that our files take names from
    "transformers.modeling_layers",
    "transformers.modeling_utils",
    "transformers.models.auto.tokenization_auto",
    "transformers.pipelines.base",
    "transformers.processing_utils",
)

_watched: set[str] = set()
_waiting: list[Callable[[], None]] = []


def install_hooks() -> None:
    """Sets the hook on every watched module; a second call does nothing."""
    if _watched:
        return
    _watched.update(_REGISTRATION_AFTER, _OTHERS_IN_USE, _modeling_modules())
    for name in sorted(_watched):
        register_post_import_hook(_after_import, name)


def _modeling_modules() -> list[str]:
    """Names of all modules of hf_blink.modeling, found without importing the package."""
    spec = find_spec("hf_blink.modeling")
    folders = (spec.submodule_search_locations or ()) if spec is not None else ()
    return [f"hf_blink.modeling.{path.stem}" for folder in folders for path in Path(folder).glob("[!_]*.py")]


def _after_import(module: ModuleType) -> None:
    registration = _REGISTRATION_AFTER.get(module.__name__)
    if registration is not None:
        _waiting.append(registration)
    if any(_is_loading(name) for name in _watched if name != module.__name__):
        return
    while _waiting:
        registration = _waiting.pop(0)
        try:
            registration()
        except BaseException:  # it stays on the list for the next import; this one fails with the error
            _waiting.insert(0, registration)
            raise


def _is_loading(name: str) -> bool:
    spec = getattr(sys.modules.get(name), "__spec__", None)
    return getattr(spec, "_initializing", False)
