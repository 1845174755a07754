"""QLoRA by bitsandbytes itself, in a process where it is found: `make setup` lays it apart."""

import pytest

from tests.student.apart import passes_with

pytestmark = pytest.mark.slow


def test_qlora_on_4_bit_weights():
    passes_with("qlora", "four_bit_checks.py")
