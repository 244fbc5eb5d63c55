"""The typed configuration of experiments, its presets, and the machine's settings."""

from configs.errors import ConfigError
from configs.loader import config_hash, from_dict, load, override, preset_names, to_dict
from configs.openmp import use_passive_waiting
from configs.schema import PROTOCOLS, Config, EnvironmentConfig, EvaluateConfig, Protocol, RetryConfig
from configs.settings import CHECKOUT, LOGGERS, PROJECT, Settings, bypass_proxy_for_loopback

__all__ = [
    "CHECKOUT",
    "LOGGERS",
    "PROJECT",
    "PROTOCOLS",
    "Config",
    "ConfigError",
    "EnvironmentConfig",
    "EvaluateConfig",
    "Protocol",
    "RetryConfig",
    "Settings",
    "bypass_proxy_for_loopback",
    "config_hash",
    "from_dict",
    "load",
    "override",
    "preset_names",
    "to_dict",
]

# This package is imported before torch by every process of the project: the command, workers, served models, tests.
use_passive_waiting()
