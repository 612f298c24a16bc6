"""A callback that logs, after each epoch, how many feature maps show nothing on any image of the validation or test."""

from contextlib import ExitStack
from typing import Any

from lightning import LightningModule, Trainer

from viz_callbacks.callbacks.base import PeriodicCallback, validation_loader
from viz_callbacks.metrics.dead_maps import DeadMapHooks


class DeadMapsLogger(PeriodicCallback):
    """Logs ``dead/<layer>``: how many of the layer's maps are dead on all images of a loader (``DeadMaps``).

    The images are watched while Lightning's validation runs, so this costs no forward pass.

    Args:
        loader: that loader's name where the validation has several, None for the only one.
        every_n_epochs: as for ``PeriodicCallback``.
        network: as for ``PeriodicCallback``.
    """

    def __init__(self, loader: str | None, *, every_n_epochs: int = 1, network: str = "network") -> None:
        super().__init__(every_n_epochs=every_n_epochs, network=network)
        self.loader = loader
        self._watching = ExitStack()  # closed when the validation ends, however it ends
        self._hooks: DeadMapHooks | None = None

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put hooks on the network, where it is due."""
        if self.is_due(trainer) and not trainer.sanity_checking:
            self._hooks = self._watching.enter_context(DeadMapHooks(pl_module.get_submodule(self.network)))

    def on_validation_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Tell the hooks whether the next batch is one of the loader's."""
        if self._hooks is not None:
            self._hooks.watching = validation_loader(trainer, dataloader_idx) == self.loader

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the hooks off; bring together what all processes saw, and log it."""
        if self._hooks is not None:
            metrics = self._hooks.metrics
            self._remove_hooks()
            for layer, metric in metrics.items():
                pl_module.log(f"dead/{layer}", metric.compute().float(), logger=False, rank_zero_only=True)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Take the hooks off when a validation is interrupted."""
        self._remove_hooks()

    def _remove_hooks(self) -> None:
        self._watching.close()
        self._hooks = None
