"""The data sets by name."""

from configs import DataSettings, SettingsError
from datamodules.caltech101.datamodule import Caltech101
from datamodules.datamodule import ImageDataModule
from datamodules.image_folder import ImageFolder
from datamodules.shapes import Shapes

DATA_SETS: dict[str, type[ImageDataModule]] = {"caltech101": Caltech101, "folder": ImageFolder, "shapes": Shapes}


def build_datamodule(settings: DataSettings, image_size: int, seed: int) -> ImageDataModule:
    """Build the data set ``settings.name`` for inputs of ``image_size`` pixels. Raises SettingsError for an unknown name."""
    if settings.name not in DATA_SETS:
        raise SettingsError(f"data={settings.name}: choose one of {', '.join(DATA_SETS)}")
    return DATA_SETS[settings.name](settings, image_size, seed)
