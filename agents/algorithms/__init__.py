"""The algorithms, one module each, and `build`, which creates the configured one."""

from agents.algorithms.base import AlgorithmBase, MemoryNeeds, OnPolicy
from agents.algorithms.build import ALGORITHMS, build, build_policy, evaluation_epsilon, memory_needs, steps_per_update
from agents.algorithms.heads import without_noise

__all__ = [
    "ALGORITHMS",
    "AlgorithmBase",
    "MemoryNeeds",
    "OnPolicy",
    "build",
    "build_policy",
    "evaluation_epsilon",
    "memory_needs",
    "steps_per_update",
    "without_noise",
]
