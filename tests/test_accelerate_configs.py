"""The accelerate configurations of the package are what `accelerate launch` reads, and run what they say."""

from importlib.resources import files
from pathlib import Path

import pytest
from accelerate import FullyShardedDataParallelPlugin
from accelerate.commands.config.config_args import ClusterConfig, load_config_from_file
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.utils.launch import prepare_multi_gpu_env

FOLDER = Path(str(files("hf_blink.training"))) / "recipes" / "accelerate"
PROCESSES = {"one_cpu": 1, "one_gpu": 1, "eight_gpus": 8, "two_machines": 16, "fsdp": 8}


def launched(name: str, *options: str):
    """The arguments of `accelerate launch`, as it completes them from the file."""
    command = [
        "--config_file",
        str(FOLDER / f"{name}.yaml"),
        *options,
        "-m",
        "hf_blink.training.train_biencoder",
    ]
    return _validate_launch_command(launch_command_parser().parse_args(command))[0]


def test_every_configuration_is_tested():
    assert {file.stem for file in FOLDER.iterdir()} == set(PROCESSES)


@pytest.mark.parametrize("name", PROCESSES)
def test_accelerate_reads_it(name):
    config = load_config_from_file(str(FOLDER / f"{name}.yaml"))
    assert isinstance(config, ClusterConfig)  # refuses keys that it does not know
    assert config.num_processes == PROCESSES[name] and config.mixed_precision == "no"
    text = (FOLDER / f"{name}.yaml").read_text("utf-8")
    recipe = "biencoder.yaml" if name == "one_cpu" else "biencoder_gpu.yaml"
    assert f"accelerate launch --config_file {name}.yaml" in text and recipe in text
    assert (FOLDER.parent / recipe).is_file()


def test_one_process_for_each_gpu_of_a_machine():
    args = launched("eight_gpus")
    assert args.multi_gpu and not args.use_fsdp and not args.use_cpu
    assert (args.num_processes, args.num_machines) == (8, 1)
    assert launched("eight_gpus", "--num_processes", "4").num_processes == 4
    assert not launched("one_gpu").multi_gpu and launched("one_cpu").use_cpu


def test_two_machines_meet_at_the_address_of_the_first():
    args = launched("two_machines", "--main_process_ip", "10.0.0.1", "--machine_rank", "1")
    prepare_multi_gpu_env(args)
    assert (args.nnodes, args.nproc_per_node, args.node_rank) == ("2", "8", 1)
    assert args.rdzv_endpoint == "10.0.0.1:29500"


def test_fsdp_divides_layers_and_keeps_whole_checkpoints(bi_encoder, monkeypatch):
    args = launched("fsdp")
    assert args.use_fsdp and args.num_processes == 8
    for variable, value in prepare_multi_gpu_env(args).items():
        if variable.startswith(("FSDP_", "ACCELERATE_USE_FSDP")):
            monkeypatch.setenv(variable, value)
    plugin = FullyShardedDataParallelPlugin()
    assert plugin.fsdp_version == 2 and plugin.reshard_after_forward
    assert plugin.state_dict_type.name == "FULL_STATE_DICT"
    plugin.set_auto_wrap_policy(bi_encoder)
    layer = type(bi_encoder.mention_encoder.encoder.layer[0])
    assert layer in plugin.auto_wrap_policy.keywords["transformer_layer_cls"]
