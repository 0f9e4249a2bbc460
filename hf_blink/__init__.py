"""Entity linking by descriptions: retrieve with a bi-encoder, rerank with a cross-encoder.

Importing this package loads neither torch nor transformers: each public name is imported from its module at
first use (PEP 562), and the model types and the pipeline task "entity-linking" are registered with
transformers when transformers itself gets loaded.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from hf_blink.transformers_registration import install_hooks

__version__ = "0.1.0"

_NAMES_OF_MODULE = {
    "hf_blink.elq_export": ("export_elq",),
    "hf_blink.elq_import": ("ElqFiles", "import_elq", "import_elq_model"),
    "hf_blink.modeling.configuration_blink": ("BlinkBiEncoderConfig", "BlinkCrossEncoderConfig"),
    "hf_blink.modeling.configuration_elq": ("ElqConfig",),
    "hf_blink.modeling.modeling_blink_biencoder": ("BlinkBiEncoder",),
    "hf_blink.modeling.modeling_blink_crossencoder": ("BlinkCrossEncoder",),
    "hf_blink.modeling.modeling_elq": ("ElqModel",),
    "hf_blink.modeling.processing_blink": ("BlinkProcessor",),
    "hf_blink.modeling.processing_elq": ("ElqProcessor",),
    "hf_blink.modeling.linking_types": ("Candidate", "Entity", "EntityLink", "Mention"),
    "hf_blink.modeling.knowledge_base": ("KnowledgeBase",),
    "hf_blink.modeling.entity_index": ("EntityIndex",),
    "hf_blink.modeling.mention_detection": ("MentionDetector", "TitleMatcher", "TokenClassificationDetector"),
    "hf_blink.modeling.entity_linker": ("EntityLinker",),
    "hf_blink.modeling.pipeline_entity_linking": ("EntityLinkingPipeline",),
    "hf_blink.sentence_transformers_export": ("export_sentence_transformers",),
    "hf_blink.blink_encoders": ("import_blink_biencoder", "import_blink_crossencoder"),
    "hf_blink.original_entities": ("import_blink_encodings", "import_blink_entities"),
    "hf_blink.blink_import": ("BlinkFiles", "import_blink"),
    "hf_blink.original_import": ("ImportSettings",),
    "hf_blink.original_indexes": ("import_blink_index",),
    "hf_blink.blink_export": ("export_blink",),
    "hf_blink.training.adaptation": ("AdaptationSettings", "adapt"),
    "hf_blink.training.arguments": ("BlinkTrainingArguments",),
    "hf_blink.training.collators": ("BiEncoderCollator", "CrossEncoderCollator"),
    "hf_blink.training.cross_encoder_trainer": ("CrossEncoderTrainer",),
    "hf_blink.training.dataset_readers": ("read_blink_mentions", "read_mentions", "read_zeshel"),
    "hf_blink.training.distillation": ("DistillationCollator", "DistillationTrainer", "add_teacher_scores"),
    "hf_blink.training.document_evaluation": ("evaluate_documents", "linked_documents"),
    "hf_blink.training.document_readers": ("read_documents",),
    "hf_blink.training.documents": ("passages",),
    "hf_blink.training.elq_trainer": ("ElqTrainer",),
    "hf_blink.training.evaluation": ("evaluate_linker",),
    "hf_blink.training.hard_negatives": (
        "HardNegativeMiner",
        "mine_candidates",
        "mine_hard_negatives",
    ),
    "hf_blink.training.joint_threshold": ("fit_joint_threshold",),
    "hf_blink.training.mention_sampling": ("balanced_over_worlds", "capped_per_entity"),
    "hf_blink.training.mining_settings": ("MiningSettings",),
    "hf_blink.training.score_weights": ("fit_retrieval_weight", "weigh_scores"),
    "hf_blink.training.sharded_encoding": ("encode_entities_sharded", "merge_shards"),
    "hf_blink.training.name_neighbours": ("add_name_neighbours",),
    "hf_blink.training.nif": ("read_nif", "write_nif"),
    "hf_blink.training.raw_texts": ("read_texts",),
    "hf_blink.training.silver_mentions": ("silver_mentions",),
    "hf_blink.training.span_collator": ("ElqCollator",),
    "hf_blink.training.trainers": ("HardNegativeTrainer", "InBatchTrainer"),
}
_MODULE_OF_NAME = {name: module for module, names in _NAMES_OF_MODULE.items() for name in names}

__all__ = ["__version__", *_MODULE_OF_NAME]

if TYPE_CHECKING:  # the same table for type checkers and editors; tests/test_lazy_import.py compares the two
    from hf_blink.blink_encoders import import_blink_biencoder as import_blink_biencoder
    from hf_blink.blink_encoders import import_blink_crossencoder as import_blink_crossencoder
    from hf_blink.blink_export import export_blink as export_blink
    from hf_blink.blink_import import BlinkFiles as BlinkFiles
    from hf_blink.blink_import import import_blink as import_blink
    from hf_blink.elq_export import export_elq as export_elq
    from hf_blink.elq_import import ElqFiles as ElqFiles
    from hf_blink.elq_import import import_elq as import_elq
    from hf_blink.elq_import import import_elq_model as import_elq_model
    from hf_blink.modeling.configuration_blink import BlinkBiEncoderConfig as BlinkBiEncoderConfig
    from hf_blink.modeling.configuration_blink import BlinkCrossEncoderConfig as BlinkCrossEncoderConfig
    from hf_blink.modeling.configuration_elq import ElqConfig as ElqConfig
    from hf_blink.modeling.entity_index import EntityIndex as EntityIndex
    from hf_blink.modeling.entity_linker import EntityLinker as EntityLinker
    from hf_blink.modeling.knowledge_base import KnowledgeBase as KnowledgeBase
    from hf_blink.modeling.linking_types import Candidate as Candidate
    from hf_blink.modeling.linking_types import Entity as Entity
    from hf_blink.modeling.linking_types import EntityLink as EntityLink
    from hf_blink.modeling.linking_types import Mention as Mention
    from hf_blink.modeling.mention_detection import MentionDetector as MentionDetector
    from hf_blink.modeling.mention_detection import TitleMatcher as TitleMatcher
    from hf_blink.modeling.mention_detection import TokenClassificationDetector as TokenClassificationDetector
    from hf_blink.modeling.modeling_blink_biencoder import BlinkBiEncoder as BlinkBiEncoder
    from hf_blink.modeling.modeling_blink_crossencoder import BlinkCrossEncoder as BlinkCrossEncoder
    from hf_blink.modeling.modeling_elq import ElqModel as ElqModel
    from hf_blink.modeling.pipeline_entity_linking import EntityLinkingPipeline as EntityLinkingPipeline
    from hf_blink.modeling.processing_blink import BlinkProcessor as BlinkProcessor
    from hf_blink.modeling.processing_elq import ElqProcessor as ElqProcessor
    from hf_blink.original_entities import import_blink_encodings as import_blink_encodings
    from hf_blink.original_entities import import_blink_entities as import_blink_entities
    from hf_blink.original_import import ImportSettings as ImportSettings
    from hf_blink.original_indexes import import_blink_index as import_blink_index
    from hf_blink.sentence_transformers_export import (
        export_sentence_transformers as export_sentence_transformers,
    )
    from hf_blink.training.adaptation import AdaptationSettings as AdaptationSettings
    from hf_blink.training.adaptation import adapt as adapt
    from hf_blink.training.arguments import BlinkTrainingArguments as BlinkTrainingArguments
    from hf_blink.training.collators import BiEncoderCollator as BiEncoderCollator
    from hf_blink.training.collators import CrossEncoderCollator as CrossEncoderCollator
    from hf_blink.training.cross_encoder_trainer import CrossEncoderTrainer as CrossEncoderTrainer
    from hf_blink.training.dataset_readers import read_blink_mentions as read_blink_mentions
    from hf_blink.training.dataset_readers import read_mentions as read_mentions
    from hf_blink.training.dataset_readers import read_zeshel as read_zeshel
    from hf_blink.training.distillation import DistillationCollator as DistillationCollator
    from hf_blink.training.distillation import DistillationTrainer as DistillationTrainer
    from hf_blink.training.distillation import add_teacher_scores as add_teacher_scores
    from hf_blink.training.document_evaluation import evaluate_documents as evaluate_documents
    from hf_blink.training.document_evaluation import linked_documents as linked_documents
    from hf_blink.training.document_readers import read_documents as read_documents
    from hf_blink.training.documents import passages as passages
    from hf_blink.training.elq_trainer import ElqTrainer as ElqTrainer
    from hf_blink.training.evaluation import evaluate_linker as evaluate_linker
    from hf_blink.training.hard_negatives import HardNegativeMiner as HardNegativeMiner
    from hf_blink.training.hard_negatives import mine_candidates as mine_candidates
    from hf_blink.training.hard_negatives import mine_hard_negatives as mine_hard_negatives
    from hf_blink.training.joint_threshold import fit_joint_threshold as fit_joint_threshold
    from hf_blink.training.mention_sampling import balanced_over_worlds as balanced_over_worlds
    from hf_blink.training.mention_sampling import capped_per_entity as capped_per_entity
    from hf_blink.training.mining_settings import MiningSettings as MiningSettings
    from hf_blink.training.name_neighbours import add_name_neighbours as add_name_neighbours
    from hf_blink.training.nif import read_nif as read_nif
    from hf_blink.training.nif import write_nif as write_nif
    from hf_blink.training.raw_texts import read_texts as read_texts
    from hf_blink.training.score_weights import fit_retrieval_weight as fit_retrieval_weight
    from hf_blink.training.score_weights import weigh_scores as weigh_scores
    from hf_blink.training.sharded_encoding import encode_entities_sharded as encode_entities_sharded
    from hf_blink.training.sharded_encoding import merge_shards as merge_shards
    from hf_blink.training.silver_mentions import silver_mentions as silver_mentions
    from hf_blink.training.span_collator import ElqCollator as ElqCollator
    from hf_blink.training.trainers import HardNegativeTrainer as HardNegativeTrainer
    from hf_blink.training.trainers import InBatchTrainer as InBatchTrainer


def __getattr__(name: str) -> Any:
    module = _MODULE_OF_NAME.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(module), name)
    globals()[name] = value  # the next access does not come here
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


install_hooks()
