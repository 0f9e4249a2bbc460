"""Hard negatives in the loop: at the start of each epoch the current model mines, and what it finds joins the batches.

What was mined is written to `output_dir/mined/epoch-N.npz` (entity rows, -1 for none, and the miner's fingerprint) before
the epoch's first batch. A run that is resumed in the middle of an epoch goes on with that file, so that its batches are
those of the uninterrupted run. One that is resumed at the start of an epoch takes it too where the fingerprint says that the
same model has mined the same mentions, and else mines. Files of epochs that no checkpoint is in are removed.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset
from transformers import TrainerCallback

from hf_blink.modeling.knowledge_base import KnowledgeBase
from hf_blink.training.batch_sampling import EntityBatchSampler, epoch_at
from hf_blink.training.process_shares import failing_together, gather_objects, process_place
from hf_blink.training.whole_files import written_whole
from hf_blink.training.whole_weights import whole_model

logger = logging.getLogger(__name__)

FOLDER = "mined"


class MinedMentions:
    """Labelled mentions with the hard negatives of the last mining as the column `hard_negative_ids`.

    Args:
        mentions: labelled mentions.
        knowledge_base: the entities.
    """

    def __init__(self, mentions: Dataset, knowledge_base: KnowledgeBase):
        self.mentions = mentions
        self.column_names = [*mentions.column_names, "hard_negative_ids"]
        self._knowledge_base = knowledge_base
        self._rows: np.ndarray | None = None

    def use(self, rows: np.ndarray) -> None:
        """Takes the negatives of a mining, entity rows `[num_mentions, num_negatives]`, -1 for none.

        Raises:
            ValueError: another number of mentions.
        """
        if rows.ndim != 2 or len(rows) != len(self.mentions):
            raise ValueError(
                f"expected mined entity rows [{len(self.mentions)}, num_negatives], got {list(rows.shape)}; "
                "they belong to other training mentions"
            )
        self._rows = rows

    def __len__(self) -> int:
        return len(self.mentions)

    def __getitem__(self, key: int | str) -> Any:
        return self.mentions[key] if isinstance(key, str) else self.__getitems__([key])[0]

    def __getitems__(self, numbers: Sequence[int]) -> list[dict[str, Any]]:
        if self._rows is None:
            raise ValueError("expected mined negatives before the first batch, got none; train() mines them")
        rows = self.mentions.__getitems__(list(numbers))
        mined = [self._knowledge_base.entity_ids(found[found >= 0].tolist()) for found in self._rows[numbers]]
        return [{**row, "hard_negative_ids": ids} for row, ids in zip(rows, mined, strict=True)]


def mined_rows(miner: Any, bi_encoder: Any, mentions: Dataset, number: int, file: Path) -> np.ndarray:
    """What the miner finds, or found before and put into the file; collective.

    Args:
        miner: has `mine(bi_encoder, mentions, number)`, which gives entity rows `[num_mentions, num_negatives]`; where its
            work is to be found again, `fingerprint` of the same arguments, over all that decides the result; and perhaps
            `forget()`, which is called when the rows are in the file.
        bi_encoder: a whole model.
        mentions: labelled mentions.
        number: of this mining in the run.
        file: that process 0 writes; other processes may not see it, and then all mine.
    """
    own = (
        "" if getattr(miner, "fingerprint", None) is None else miner.fingerprint(bi_encoder, mentions, number)
    )
    with failing_together("reading hard negatives"):
        kept, fingerprint = _read(file)
    if all(gather_objects(kept is not None and own != "" and fingerprint == own)):
        if process_place()[0] == 0:
            logger.info("hard negatives are those in %s", file)
        _forget(miner)
        return kept  # type: ignore[return-value]
    rows = miner.mine(bi_encoder, mentions, number)
    with failing_together("keeping hard negatives"):
        if process_place()[0] == 0:
            file.parent.mkdir(parents=True, exist_ok=True)
            with written_whole(file) as stream:
                np.savez(stream, rows=rows.astype(np.int32), fingerprint=np.array(own))
    _forget(miner)
    return rows


def _forget(miner: Any) -> None:
    """Lets the miner remove what it kept for the case that it would be stopped."""
    if hasattr(miner, "forget"):
        miner.forget()


def mined_file(folder: str | Path | None, epoch: int) -> Path:
    """Where the hard negatives of an epoch are, in the output folder of a run."""
    return Path(str(folder), FOLDER, f"epoch-{epoch}.npz")


def _read(file: Path) -> tuple[np.ndarray | None, str]:
    """The rows of a file and their fingerprint; None where there is no file."""
    if not file.is_file():
        return None, ""
    with np.load(file, allow_pickle=False) as kept:
        return kept["rows"], str(kept["fingerprint"])


def _read_begun(file: Path) -> np.ndarray:
    """The rows of an epoch that was interrupted."""
    kept, _ = _read(file)
    if kept is None:
        raise FileNotFoundError(
            f"expected the hard negatives of the interrupted epoch in {file}, got no file; resume from a checkpoint at the "
            "end of an epoch, or start anew"
        )
    return kept


class MiningCallback(TrainerCallback):
    """Mines at the start of each epoch.

    Args:
        miner: see `mined_rows`.
        mentions: gets what was mined.
        sampler: knows how long an epoch is.
    """

    def __init__(self, miner: Any, mentions: MinedMentions, sampler: EntityBatchSampler):
        self.miner = miner
        self.mentions = mentions
        self.sampler = sampler

    def on_epoch_begin(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        """Mines, or takes what was mined before an interruption.

        Raises:
            FileNotFoundError: the run goes on in the middle of an epoch whose negatives are gone.
        """
        epoch = self._epoch(state.global_step, args)
        begun = self._epoch(state.global_step - 1, args) == epoch
        file = mined_file(args.output_dir, epoch)
        if begun and state.global_step:
            with failing_together("reading hard negatives"):
                self.mentions.use(_read_begun(file))
            return
        bi_encoder = whole_model(getattr(model, "module", model))
        self.mentions.use(mined_rows(self.miner, bi_encoder, self.mentions.mentions, epoch, file))
        if state.is_world_process_zero:
            self._tidy(file, args)

    def _tidy(self, file: Path, args: Any) -> None:
        """Removes what no checkpoint can be resumed with any more."""
        steps = (path.name.rpartition("-")[2] for path in Path(args.output_dir).glob("checkpoint-*"))
        epochs = {self._epoch(int(step), args) for step in steps if step.isdigit()}
        kept = {file.name, *(mined_file(args.output_dir, epoch).name for epoch in epochs)}
        for other in file.parent.glob("epoch-*.npz"):
            if other.name not in kept:
                other.unlink()

    def _epoch(self, step: int, args: Any) -> int:
        return epoch_at(step, self.sampler.steps, args.gradient_accumulation_steps)
