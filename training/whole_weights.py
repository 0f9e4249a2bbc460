"""The whole model of a training whose weights are divided over processes (FSDP), to encode and to save with.

A divided model can only be called by all processes together, batch by batch; mining and measuring give each process
batches of its own. So these get a plain copy that holds everything.
"""

from typing import Any

from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor


def whole_model(model: Any) -> Any:
    """The model itself, or a whole copy of one whose weights are divided; collective.

    Args:
        model: one of our encoders, not wrapped (`accelerator.unwrap_model`).

    Returns:
        A model with plain weights, on the device of the weights it got; in evaluation mode if it is a copy.
    """
    state = model.state_dict()
    if not any(isinstance(value, DTensor) for value in state.values()):
        return model
    whole = {
        name: value.full_tensor() if isinstance(value, DTensor) else value for name, value in state.items()
    }
    # FSDP puts a class of its own before the model's.
    kind: Any = next(base for base in type(model).__mro__ if not issubclass(base, FSDPModule))
    copy = kind(model.config)
    copy.load_state_dict(whole, assign=True)
    return copy.to(next(iter(whole.values())).device).eval()
