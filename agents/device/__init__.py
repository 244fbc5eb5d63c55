"""The process of a training and its machine: device, threads, memory, signals, provenance."""

from agents.device.code import COMPUTING, code_digests
from agents.device.interruption import StopLearning, StopRequest
from agents.device.keep_awake import keep_awake
from agents.device.memory import keep_freed_memory
from agents.device.provenance import Provenance, provenance
from agents.device.selection import resolve_device
from agents.device.threads import best_of, candidates, measure, torch_threads

__all__ = [
    "COMPUTING",
    "Provenance",
    "StopLearning",
    "StopRequest",
    "best_of",
    "candidates",
    "code_digests",
    "keep_awake",
    "keep_freed_memory",
    "measure",
    "provenance",
    "resolve_device",
    "torch_threads",
]
