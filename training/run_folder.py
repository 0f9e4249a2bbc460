"""The output folder of a training run: whether a run may start in it, with which settings, and what it measured.

A folder with `round_*` or `checkpoint-*` holds work of an earlier run. A new run would mix with it, so it is refused;
a resumed one goes on only with the settings that `recipe.json` kept, but for those that cannot change the weights
(logging, saving, evaluation, data loading), with the data whose fingerprints `data.json` kept, and in as many processes.
Both files are written once the data are read and the models loaded, so that a run that is refused leaves nothing behind.
Only the main process writes, and the others wait for it.
"""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import TrainingArguments

from hf_blink.modeling.knowledge_base import KnowledgeBase
from hf_blink.training.mention_retrieval import mentions_digest
from hf_blink.training.metrics_table import metrics_table
from hf_blink.training.process_shares import check_agreement, failing_together
from hf_blink.training.whole_files import flush_disks, written_whole
from hf_blink.training.whole_weights import whole_model

logger = logging.getLogger(__name__)

RECIPE = "recipe.json"
DATA = "data.json"
METRICS = "metrics.json"
FINISHED = "round.json"  # written last into the folder of a round
LOCAL = "local_folders"  # which of the settings that name a model named a folder, and not the Hub's
_MODELS = ("base_model", "bi_encoder", "cross_encoder")
_TRACES = ("round_*", "checkpoint-*")

# Settings that may differ from those that the run was started with.
_FREE_PREFIXES = ("dataloader_", "eval_", "hub_", "log_", "logging_", "save_", "trackio_")
_FREE = frozenset(
    (
        *("resume", "resume_from_checkpoint", "output_dir", "evaluation", "per_device_eval_batch_size"),
        *("prediction_loss_only", "report_to", "run_name", "project", "disable_tqdm", "push_to_hub"),
        *("skip_memory_metrics", "local_rank", "ddp_timeout", "dry_run"),
    )
)
_NEEDED = frozenset(("dataloader_drop_last", "dataloader_in_order"))


def open_run(
    training: TrainingArguments, parts: Sequence[Any], *, resume: bool, free: Sequence[str] = ()
) -> dict[str, Any]:
    """Checks the output folder, before anything is read; writes nothing. Collective.

    Args:
        training: the training arguments; `output_dir` names the folder.
        parts: the other dataclasses of the recipe.
        resume: whether the run goes on with what is in the folder.
        free: names of more settings that cannot change the weights of this script's model; a resumed run may have others.

    Returns:
        The settings that `keep_run` keeps.

    Raises:
        ValueError: a used folder without `resume`; with it, no `recipe.json` in a used folder, or other settings; or
            processes that were started with different settings, or find different work in their folders.
    """
    settings = _settings((*parts, training))
    check_agreement("training", settings)
    folder = Path(str(training.output_dir))
    check_agreement(
        "training", {"work in output_dir (a folder that all machines share)": _found(folder, training)}
    )
    kept = {name: value for name, value in settings.items() if name not in free}
    with failing_together("training"):
        _check_folder(folder, kept, resume=resume)
    return kept


def _check_folder(folder: Path, settings: Mapping[str, Any], *, resume: bool) -> None:
    used = _used(folder)
    if used and not resume:
        raise ValueError(
            f"expected an empty output_dir, or --resume true to go on, got {folder} with {', '.join(used)}; "
            "name another folder or remove the old run"
        )
    if used:
        kept = folder / RECIPE
        if not kept.is_file():
            raise ValueError(f"expected {kept} of the run to resume, got no file; name another output_dir")
        _check_same(json.loads(kept.read_text(encoding="utf-8")), settings, folder)


def _used(folder: Path) -> list[str]:
    """What an earlier run left."""
    return sorted(path.name for pattern in _TRACES for path in folder.glob(pattern))


def _found(folder: Path, training: TrainingArguments) -> dict[str, str]:
    """What decides where a resumed run goes on: what each of its folders has."""

    def work(place: Path) -> str:
        if (place / FINISHED).is_file():
            return "finished"
        whole = (path.name for path in _checkpoints(place) if _is_whole(path, training))
        return next(whole, "no checkpoint")

    return {
        str(place.relative_to(folder)): work(place) for place in (folder, *sorted(folder.glob("round_*")))
    }


def keep_run(
    training: TrainingArguments,
    settings: Mapping[str, Any],
    knowledge_base: KnowledgeBase,
    mentions: Dataset,
    dev: Dataset | None = None,
) -> None:
    """Keeps a run's settings, and what it trains and chooses on as fingerprints; refuses to resume with other data. Collective.

    Args:
        training: the training arguments; `output_dir` names the folder, which is made if it is missing.
        settings: of `open_run`.
        knowledge_base: the entities.
        mentions: that are trained on, in their order.
        dev: that the model is chosen on.

    Raises:
        ValueError: a used folder whose run had other entities, mentions or dev mentions.
    """
    folder = Path(str(training.output_dir))
    now = {"knowledge_base": knowledge_base.fingerprint, "mentions": mentions_digest(mentions)}
    if dev is not None:
        now["dev_mentions"] = mentions_digest(dev)
    with failing_together("training"):
        used = _used(folder)
        if used and (folder / DATA).is_file():
            _check_data(json.loads((folder / DATA).read_text(encoding="utf-8")), now, folder)
        elif training.process_index == 0:
            folder.mkdir(parents=True, exist_ok=True)
            if not used:
                local = [name for name in _MODELS if Path(str(settings.get(name))).exists()]
                write_json(folder / RECIPE, {**settings, LOCAL: local})
            write_json(folder / DATA, now)


def _check_data(then: Mapping[str, Any], now: Mapping[str, Any], folder: Path) -> None:
    if changed := [name.replace("_", " ") for name in now if then.get(name) != now[name]]:
        raise ValueError(
            f"expected the data that the run in {folder} was started with, got another {' and other '.join(changed)}; "
            "give the old files, or name another output_dir"
        )


def last_checkpoint(folder: str | Path, training: TrainingArguments) -> str | None:
    """The newest checkpoint that is whole, to resume from; a kill may have left the last one in the middle of its writing.

    Args:
        folder: of the checkpoints.
        training: knows the processes, each of which has a file of its random state.
    """
    for checkpoint in _checkpoints(Path(folder)):
        if _is_whole(checkpoint, training):
            return str(checkpoint)
        logger.warning("%s is not whole and passed over", checkpoint)
    return None


def _checkpoints(folder: Path) -> list[Path]:
    """Folders of checkpoints, the newest first."""
    found = {path.name.rpartition("-")[2]: path for path in folder.glob("checkpoint-*")}
    return [found[step] for step in sorted(filter(str.isdigit, found), key=int, reverse=True)]


def _is_whole(checkpoint: Path, training: TrainingArguments) -> bool:
    """Whether all is there that `Trainer` writes, its state last, and nothing is empty, as after a power cut."""
    numbers = [f"_{number}" for number in range(training.world_size)] if training.world_size > 1 else [""]
    needed = [] if training.save_only_model else [f"rng_state{number}.pth" for number in numbers]
    try:
        json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    written = {file.name: file.stat().st_size for file in checkpoint.iterdir() if file.is_file()}
    return all(written.values()) and written.keys() >= set(needed)


def train_recorded(
    trainer: Any,
    *,
    resume: bool,
    num_mentions: int,
    finish: Callable[[Any], Mapping[str, float]] | None = None,
    **facts: float,
) -> Any:
    """Trains, saves the model in the trainer's `output_dir` and writes `round.json` there, last; collective.

    Args:
        trainer: one of this package's trainers.
        resume: go on from the last whole checkpoint, where there is one.
        num_mentions: that it trains on.
        finish: changes the whole trained model, in process 0, and gives facts of it.
        **facts: of the training, which are written too.

    Returns:
        The whole model, on its device.
    """
    folder = str(trainer.args.output_dir)
    checkpoint = last_checkpoint(folder, trainer.args) if resume else None
    result = trainer.train(resume_from_checkpoint=checkpoint)
    if trainer.is_fsdp_enabled:  # all processes give their parts of the weights
        trainer.save_model()
    model = whole_model(trainer.accelerator.unwrap_model(trainer.model))
    with failing_together("saving the model"):
        if not trainer.is_fsdp_enabled:
            trainer.save_model()
        if trainer.is_world_process_zero():
            if finish is not None:
                facts |= finish(model)
                model.save_pretrained(folder)
            write_finished(folder, trainer, {**result.metrics, **facts}, num_mentions)
    return model


def write_metrics(metrics: Mapping[str, Any], folder: str | Path | None) -> None:
    """Writes all metrics to `metrics.json`, and logs a table of those that are not of a single world."""
    file = Path(str(folder), METRICS)
    write_json(file, metrics)
    logger.info("%s\nall metrics are in %s", metrics_table(metrics), file)


def write_finished(
    folder: str | Path | None, trainer: Any, metrics: Mapping[str, Any], num_mentions: int
) -> None:
    """Writes what a finished round was: speed, sizes, and the curves for the card, `[step, loss]` and `[step, recall@64]`."""
    losses, recalls = (
        [[entry["step"], entry[name]] for entry in trainer.state.log_history if name in entry]
        for name in ("loss", "eval_recall@64")
    )
    sizes = {"num_processes": trainer.args.world_size, "num_mentions": num_mentions}
    flush_disks()  # the weights before the word that they are there
    write_json(Path(str(folder), FINISHED), {**metrics, **sizes, "losses": losses, "recalls": recalls})


def write_json(file: Path, values: Mapping[str, Any]) -> None:
    """Writes a file of settings or numbers; an interrupted run leaves it whole or not at all."""
    with written_whole(file) as stream:
        stream.write((json.dumps(values, indent=2) + "\n").encode())


def _settings(parts: Sequence[Any]) -> dict[str, Any]:
    """The values that decide what a run trains, in the form that JSON gives back."""
    values: dict[str, Any] = {}
    for part in parts:
        values |= part.to_dict() if isinstance(part, TrainingArguments) else asdict(part)
        if isinstance(part, TrainingArguments):
            values["num_processes"] = part.world_size
    kept = {
        name: value
        for name, value in values.items()
        if name in _NEEDED or not (name in _FREE or name.startswith(_FREE_PREFIXES))
    }
    return json.loads(json.dumps(kept, default=str))


def _check_same(then: Mapping[str, Any], now: Mapping[str, Any], folder: Path) -> None:
    # A newer transformers may have settings that the file does not: what both have is compared.
    changed = [name for name in now if name in then and then[name] != now[name]]
    if changed:
        differences = "; ".join(f"{name}: {then[name]!r} then, {now[name]!r} now" for name in changed)
        raise ValueError(
            f"expected the settings that the run in {folder} was started with, got {differences}; "
            "give the old values, or name another output_dir"
        )
