"""Reports: refused before anything is lost, and, in a process where the services are found, sent for real."""

import pytest

from distill.config import FinetuneConfig
from distill.errors import UsageError
from distill.types import Quiet
from tests.student.apart import passes_with
from tests.student.engines import QUICK

pytestmark = pytest.mark.slow


def test_wandb_and_trackio_are_told():
    passes_with("reports", "report_checks.py")


@pytest.mark.parametrize(
    ("flags", "says"), [({}, "is not installed"), ({"engine": "loop"}, "sends no reports")]
)
def test_reports_that_cannot_be_made_leave_the_student_there_was(run, student_folder, flags, says):
    from distill.steps.finetune import finetune

    finetune(run, FinetuneConfig(student=str(student_folder), **QUICK), Quiet())
    before = (run.adapter / "adapter_model.safetensors").read_bytes()
    config = FinetuneConfig(student=str(student_folder), report_to="wandb", **{**QUICK, **flags, "epochs": 3})
    with pytest.raises(UsageError, match=says):
        finetune(run, config, Quiet())
    assert run.summary("finetune") is not None
    assert (run.adapter / "adapter_model.safetensors").read_bytes() == before
