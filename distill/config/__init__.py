"""Every knob of every step, one frozen dataclass a step: one field = one flag = one line in run.json.

Holds defaults, help and bounds, and refuses to read anything: `options.py` turns a class here into
click options, and the steps take the filled-in object.
"""

from distill.config.data import ExportConfig, ImportConfig
from distill.config.knobs import knob, plain
from distill.config.refining import FailuresConfig, ReviewConfig
from distill.config.suspecting import SuspectsConfig
from distill.config.teaching import ExploreConfig, GenerateConfig, SpendConfig, TeacherConfig
from distill.config.training import DATA_KNOBS, CompareConfig, FinetuneConfig

__all__ = [
    "DATA_KNOBS",
    "CompareConfig",
    "ExploreConfig",
    "ExportConfig",
    "FailuresConfig",
    "FinetuneConfig",
    "GenerateConfig",
    "ImportConfig",
    "ReviewConfig",
    "SpendConfig",
    "SuspectsConfig",
    "TeacherConfig",
    "knob",
    "plain",
]
