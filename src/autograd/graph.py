"""The recorded graph: its nodes, and hooks on what they save."""

from ..eager.saved_hooks import (
    disable_saved_tensors_hooks,
    register_multi_grad_hook,
    save_on_cpu,
    saved_tensors_hooks,
)
from ..eager.tape import Node

__all__ = [
    "Node", "disable_saved_tensors_hooks", "register_multi_grad_hook", "save_on_cpu", "saved_tensors_hooks",
]  # fmt: skip
