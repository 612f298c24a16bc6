"""Typed settings and the command line."""

from configs.settings import (
    DataSettings,
    LoggerSettings,
    ModelSettings,
    OptimSettings,
    Settings,
    SettingsError,
    TrainerSettings,
    VizSettings,
)

__all__ = [
    "DataSettings",
    "LoggerSettings",
    "ModelSettings",
    "OptimSettings",
    "Settings",
    "SettingsError",
    "TrainerSettings",
    "VizSettings",
]
