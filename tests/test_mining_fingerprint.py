"""The fingerprint of a mining changes with everything that decides its result, and with nothing else."""

from dataclasses import replace

import torch

from hf_blink.modeling.knowledge_base import KnowledgeBase
from hf_blink.training.hard_negatives import HardNegativeMiner
from hf_blink.training.mining_settings import MiningSettings


def test_a_miners_fingerprint_is_of_model_data_settings_and_the_number(
    bi_encoder, cross_encoder, processor, knowledge_base, mentions, entities
):
    settings = MiningSettings(num_negatives=2)
    miner = HardNegativeMiner(processor, knowledge_base, settings, progress=False)
    own = miner.fingerprint(bi_encoder, mentions)
    fewer = KnowledgeBase.from_entities(entities[:5])
    filtered = replace(settings, cross_encoder_margin=0.0)
    others = [
        HardNegativeMiner(processor, knowledge_base, replace(settings, seed=1)),
        HardNegativeMiner(processor, knowledge_base, replace(settings, range_min=1)),
        HardNegativeMiner(processor, fewer, settings),
        HardNegativeMiner(processor, knowledge_base, filtered, cross_encoder=cross_encoder),
    ]
    found = [other.fingerprint(bi_encoder, mentions) for other in others]
    found += [
        miner.fingerprint(bi_encoder, mentions, 1),
        miner.fingerprint(bi_encoder, mentions.select([1, 0])),
    ]
    with torch.no_grad():
        cross_encoder.score.bias += 1
    found.append(others[-1].fingerprint(bi_encoder, mentions))
    assert miner.fingerprint(bi_encoder.train(), mentions) == own, "the mode is not of it"
    with torch.no_grad():
        bi_encoder.get_input_embeddings().weight[0, 0] += 1
    found.append(miner.fingerprint(bi_encoder, mentions))
    assert len({own, *found}) == 9
