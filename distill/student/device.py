"""Which processor and arithmetic a student runs on, with the reason. Refuses a device that is not there."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from distill.errors import DeviceError

Processor = Literal["cpu", "cuda"]
Arithmetic = Literal["float32", "bfloat16"]
# What the kernel calls 16-bit brain-float arithmetic: x86 (AVX-512, tiles), then ARM.
BFLOAT16_FLAGS = ("avx512_bf16", "amx_bf16", "bf16")


@dataclass(frozen=True)
class Device:
    """A processor, its arithmetic and one line that says both and why."""

    name: Processor
    dtype: Arithmetic
    line: str

    def autocast(self) -> AbstractContextManager[None]:
        """Matrix products in `dtype`, the rest in float32: to be entered around every forward pass."""
        import torch

        return torch.autocast(self.name, dtype=torch.bfloat16, enabled=self.dtype == "bfloat16")


def pick(device: Literal["auto", "cpu", "cuda"], dtype: Literal["auto", "float32", "bfloat16"]) -> Device:
    """The device asked for, "auto" filled in from what the machine has. Raises DeviceError."""
    import torch

    has_cuda = torch.cuda.is_available()
    if device == "cuda" and not has_cuda:
        raise DeviceError(
            "this machine has no CUDA device that torch can use",
            where="--device cuda",
            hint="use --device cpu, or install a CUDA build of torch",
        )
    name: Processor = "cuda" if has_cuda and device != "cpu" else "cpu"
    found = cuda_bfloat16() if name == "cuda" else cpu_bfloat16(Path("/proc/cpuinfo"))
    picked: Arithmetic = ("bfloat16" if found else "float32") if dtype == "auto" else dtype
    why = f"{found} found" if found else "no bfloat16 unit found"
    if dtype != "auto":
        why = f"asked for; {why}"
    label = "CPU" if name == "cpu" else f"CUDA ({torch.cuda.get_device_name()})"
    arithmetic = "bfloat16 autocast" if picked == "bfloat16" else "float32"
    return Device(name, picked, f"{label}, {arithmetic} ({why})")


def cuda_bfloat16() -> str:
    """The GPU's name for native bfloat16, or "" where it only emulates it."""
    import torch

    if not torch.cuda.is_bf16_supported(including_emulation=False):
        return ""
    major, minor = torch.cuda.get_device_capability()
    return f"compute capability {major}.{minor}"


def cpu_bfloat16(cpuinfo: Path) -> str:
    """The flag in `cpuinfo` that promises bfloat16 arithmetic, or "" (also where there is no such file)."""
    try:
        words = set(cpuinfo.read_text(encoding="utf-8", errors="replace").split())
    except OSError:
        return ""
    return next((flag for flag in BFLOAT16_FLAGS if flag in words), "")
