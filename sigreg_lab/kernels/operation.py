"""Registration of operations with torch: a schema from its signature, one implementation, one description of results.

``torch.library.custom_op`` does the same and more, but its first call imports ``torch._dynamo``, more than a second in
every process; this uses the ``torch.library.Library`` below it. ``torch.compile`` keeps the operations whole. They have
no gradient of their own: each is called from a ``torch.autograd.Function``. Autocast does not reach inside.
"""

import functools
from collections.abc import Callable
from typing import Any

import torch

Function = Callable[..., Any]

_LIBRARY = torch.library.Library("sigreg_lab", "DEF")


def operation(name: str, describe: Function) -> Callable[[Function], Function]:
    """Decorator that registers a function as ``torch.ops.sigreg_lab.<name>``, for every device.

    Args:
        name: of the operation.
        describe: of the function's signature; empty tensors of the shapes, dtypes and devices that it returns.
    """

    def register(function: Function) -> Function:
        schema = torch.library.infer_schema(function, mutates_args=())
        _LIBRARY.define(name + schema, tags=(torch.Tag.pt2_compliant_tag,))
        _LIBRARY.impl(name, _on_its_device(function), "CompositeExplicitAutograd")
        torch.library.register_fake(f"sigreg_lab::{name}", describe, lib=_LIBRARY)
        return function

    return register


def untraced(reason: str) -> Callable[[Function], Function]:
    """Decorator for what runs outside of graphs; ``torch.compiler.disable`` would import ``torch._dynamo`` at once.

    Where a graph must not break (``fullgraph=True``) the error of ``torch.compile`` gives the reason.
    """

    def leave(function: Function) -> Function:
        @functools.wraps(function)
        def call(*inputs: Any, **named: Any) -> Any:
            if torch.compiler.is_compiling():
                torch._dynamo.graph_break(msg=reason)
                return torch.compiler.disable(function, reason=reason)(*inputs, **named)
            return function(*inputs, **named)

        return call

    return leave


def _on_its_device(function: Function) -> Function:
    """Without autocast, and with the device of the first argument as the current one, where Triton launches."""

    @functools.wraps(function)
    def call(x: torch.Tensor, *others: Any) -> Any:
        if not (x.is_cuda or torch.is_autocast_enabled(x.device.type)):
            return function(x, *others)
        with torch.cuda.device_of(x), torch.autocast(x.device.type, enabled=False):
            return function(x, *others)

    return call
