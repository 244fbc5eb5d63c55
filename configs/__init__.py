"""What to run: the typed configuration, presets, and the machine's settings."""

from configs.errors import ConfigError
from configs.loader import config_hash, from_dict, load, override, preset_names, to_dict
from configs.openmp import wait_asleep
from configs.schema import PROTOCOLS, Config, EnvironmentConfig, EvaluateConfig, Protocol, RetryConfig
from configs.settings import CHECKOUT, LOGGERS, PROJECT, Settings, reach_loopback_directly

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
    "config_hash",
    "from_dict",
    "load",
    "override",
    "preset_names",
    "reach_loopback_directly",
    "to_dict",
]

# Here because every process of ours imports this package, and does so before torch: the command, workers, served models, tests.
wait_asleep()
