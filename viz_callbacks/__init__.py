"""What a network sees: Deconvolution, DeNet and more as functions over tensors, Lightning callbacks, and one lens over all.

>>> from viz_callbacks import Lens, LookInside
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from viz_callbacks.callbacks.look_inside import LookInside
    from viz_callbacks.lens.lens import Lens

__all__ = ["Lens", "LookInside"]


def __getattr__(name: str) -> Any:
    """Import these two when they are first asked for: methods and engine are used without Pillow, Matplotlib and Lightning."""
    if name == "Lens":
        from viz_callbacks.lens.lens import Lens

        return Lens
    if name == "LookInside":
        from viz_callbacks.callbacks.look_inside import LookInside

        return LookInside
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
