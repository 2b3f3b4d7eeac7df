"""Numbers in, numbers out: what a matrix, an adapter or a run is like. No drawing, no widgets.

The files that need a base model are imported by name: ``from lora_teach.measure import tuning``.
"""

from lora_teach.measure.counting import lora_parameters
from lora_teach.measure.flops import count_flops, predict_flops
from lora_teach.measure.intruders import (
    Amplification,
    amplification,
    intruder_dimensions,
    nearest_cosines,
    random_cosine,
    shrink_intruders,
)
from lora_teach.measure.measured_memory import measure_memory
from lora_teach.measure.predicted_memory import Memory, predict_kept, predict_memory, predict_peak
from lora_teach.measure.spectrum import (
    effective_rank,
    energy_kept,
    energy_lost,
    factors,
    numerical_rank,
    spectrum,
    truncate,
)
from lora_teach.measure.subspace import random_similarity, similarity_map, subspace_similarity

__all__ = [
    "Amplification", "Memory", "amplification", "count_flops", "effective_rank", "energy_kept", "energy_lost",
    "factors", "intruder_dimensions", "lora_parameters", "measure_memory", "nearest_cosines", "numerical_rank",
    "predict_flops", "predict_kept", "predict_memory", "predict_peak", "random_cosine", "random_similarity",
    "shrink_intruders", "similarity_map", "spectrum", "subspace_similarity", "truncate",
]  # fmt: skip
