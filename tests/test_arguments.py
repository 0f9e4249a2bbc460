"""The training arguments that this package adds or fixes."""

import pytest

from hf_blink.training.arguments import BlinkTrainingArguments


def test_arguments_refuse_what_breaks_the_collators(tmp_path):
    with pytest.raises(ValueError, match="remove_unused_columns=False"):
        BlinkTrainingArguments(str(tmp_path), remove_unused_columns=True)
    with pytest.raises(ValueError, match="num_hard_negatives"):
        BlinkTrainingArguments(str(tmp_path), num_hard_negatives=-1)
