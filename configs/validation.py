"""What settings must hold beyond their types: choices, bounds, and combinations that make sense."""

from operator import attrgetter

from configs.settings import Settings, SettingsError, fields


def validate(settings: Settings) -> None:
    """Raise SettingsError for a word that is not among the choices, a number out of bounds or an impossible combination."""
    _check_choices(settings)
    _check_bounds(settings)
    _check_combinations(settings)


def _check_choices(settings: Settings) -> None:
    for key, entry in fields():
        value, choices = attrgetter(key)(settings), entry.metadata["choices"]
        if choices and value not in choices:
            raise SettingsError(f"{key}={value}: choose one of {', '.join(choices)}")


def _check_bounds(settings: Settings) -> None:
    data, optim, model, viz = settings.data, settings.optim, settings.model, settings.viz
    for key, holds, wanted in (
        ("optim.lr", optim.lr > 0, "above 0"),
        ("optim.momentum", 0 <= optim.momentum < 1, "from 0 to below 1"),
        ("optim.weight_decay", optim.weight_decay >= 0, "0 or more"),
        ("optim.warmup_epochs", optim.warmup_epochs >= 0, "0 or more"),
        ("optim.label_smoothing", 0 <= optim.label_smoothing < 1, "from 0 to below 1"),
        ("optim.clip", optim.clip >= 0, "0 or more"),
        ("optim.filter_rate", 0 <= optim.filter_rate < 1, "from 0 to below 1"),
        ("optim.auxiliary_weight", optim.auxiliary_weight >= 0, "0 or more"),
        ("optim.filter_radius", optim.filter_radius >= 0, "0 or more"),
        ("trainer.max_epochs", settings.trainer.max_epochs >= 1, "1 or more"),
        ("model.dropout", 0 <= model.dropout < 1, "from 0 to below 1"),
        ("model.smooth_start", model.smooth_start >= 0, "0 or more"),
        ("model.streams", model.streams in (1, 2), "1 or 2"),
        ("model.conv1_size", 1 <= model.conv1_size <= 31, "from 1 to 31 pixels"),
        ("model.conv1_stride", 1 <= model.conv1_stride <= 8, "from 1 to 8 pixels"),
        ("data.test_fraction", 0 < data.test_fraction < 1, "between 0 and 1"),
        ("data.val_fraction", 0 <= data.val_fraction < 1, "from 0 to below 1"),
        ("data.train_per_class", data.train_per_class >= 1, "1 or more"),
        ("data.test_per_class", data.test_per_class >= 1, "1 or more"),
        ("data.batch_size", data.batch_size >= 1, "1 or more"),
        ("data.image_size", data.image_size is None or 67 <= data.image_size <= 1024, "from 67 to 1024 pixels"),
        ("data.train_sizes", all(67 <= size <= 1024 for size in data.train_sizes), "from 67 to 1024 pixels each"),
        ("data.workers", data.workers is None or data.workers >= 0, "0 or more"),
        ("data.crop_area", 0 < data.crop_area <= 1, "above 0, at most 1"),
        ("data.jitter", 0 <= data.jitter < 1, "from 0 to below 1"),
        ("data.cutmix", 0 <= data.cutmix <= 1, "from 0 to 1"),
        ("data.images_per_class", data.images_per_class >= 5, "5 or more"),
        ("viz.every_n_epochs", viz.every_n_epochs >= 0, "0 or more"),
        ("viz.maps", viz.maps >= 1, "1 or more"),
        ("viz.top_maps", viz.top_maps >= 0, "0 or more"),
        ("seed", settings.seed >= 0, "0 or more"),
        ("data.seed", data.seed >= -1, "0 or more, or -1 for the run's own seed"),
    ):
        if not holds:
            raise SettingsError(f"{key}={attrgetter(key)(settings)}: it must be {wanted}")


def _check_combinations(settings: Settings) -> None:
    data, model = settings.data, settings.model
    if data.name == "folder" and not data.root:
        raise SettingsError("data=folder: say where your images are with data.root=DIR, which holds a folder for each class")
    if model.streams == 2 and model.name != "alexnet":
        raise SettingsError(f"model.streams=2: only AlexNet has two streams, not {model.name}; leave it at 1")
    if (model.conv1_size, model.conv1_stride) != (11, 4) and model.name != "alexnet":
        raise SettingsError(f"model.conv1_size, model.conv1_stride: {model.name} has its own; they are for model=alexnet")
    if model.pooling == "l2" and (data.image_size is not None or data.train_sizes):
        raise SettingsError(
            "model.pooling=l2 takes images of the architecture's own size only; add data.image_size=null data.train_sizes=[]"
        )
