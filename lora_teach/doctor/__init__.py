"""The doctor: why doesn't mine learn? Each file of faults is one symptom; a fault is one function with its words."""

from lora_teach.doctor.diagnose import diagnose
from lora_teach.doctor.folder import diagnose_folder
from lora_teach.doctor.report import FAULTS, Diagnosis, Finding

__all__ = ["FAULTS", "Diagnosis", "Finding", "diagnose", "diagnose_folder"]
