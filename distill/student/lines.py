"""Whether rows of a pass are packed into lines on this device, and how: tried on the model before it is used.

Refuses to pack where a row would see another: a state that runs on, or positions that are not taken.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import torch

from distill.errors import UsageError
from distill.student import varlen
from distill.student.device import Device
from distill.student.encode import Row
from distill.student.forward import Net, line_logits, same, trial_ids
from distill.student.packing import Layout, lay

Wish = Literal["auto", "on", "off"]

PROBE = 8  # tokens of each row of the trial
LINE = 1024  # tokens of a line under a block mask, whose cost grows with the square
ENDLESS = 1 << 30  # of one without a mask
FAILS = (RuntimeError, NotImplementedError, ValueError, TypeError, ImportError)
"""What a model raises that cannot be run so."""
LEAK = 1e-5  # share by which a row may change with its neighbour: none, up to rounding


def choose_packing(net: Net, device: Device, wish: Wish, say: Callable[[str], None]) -> Net:
    """`net`, packing or not. 'auto' packs on CUDA; on a CPU batches of like length were faster (dev/LOG.md).

    Raises UsageError where packing is asked for and the model mixes rows.
    """
    if wish == "off" or (wish == "auto" and device.name == "cpu"):
        return net
    if device.name == "cuda" and sets_varlen(net, device):
        say("packing: rows behind one another, variable-length attention")
        return replace(net, packs=ENDLESS)
    if masks(net, device):
        say(f"packing: rows behind one another in lines of {LINE} tokens, block mask")
        return replace(net, packs=LINE)
    if wish == "on":
        raise UsageError(
            "this student's architecture lets packed rows see each other",
            where="--packing on",
            hint="--packing off",
        )
    say("packing: off, since this student's architecture lets packed rows see each other")
    return net


def sets_varlen(net: Net, device: Device) -> bool:
    """Whether variable-length attention does for this model what its own does; left set where it does."""
    if not net.model._can_set_attn_implementation():
        return False
    before = net.model.config._attn_implementation
    varlen.register()
    try:
        net.model.set_attn_implementation(varlen.NAME)
        if keeps_apart(net, device):
            return True
    except FAILS:
        pass  # no kernel for this device, arithmetic or architecture: the block mask does it
    net.model.set_attn_implementation(before)
    return False


def masks(net: Net, device: Device) -> bool:
    """Whether positions that begin anew with each row are enough to keep the rows of a line apart.

    They are not where attention is the architecture's own: its mask may be shorter than a line.
    """
    try:
        return bool(net.model._can_set_attn_implementation()) and keeps_apart(net, device)
    except FAILS:
        return False  # a decoder that takes no positions


def keeps_apart(net: Net, device: Device) -> bool:
    """Whether a row behind another gives what it gives alone, and does not change with that other."""
    words = net.model.config.get_text_config().vocab_size
    ids = [tuple(trial_ids(words, PROBE, first)) for first in (1, 40, 90)]
    rows = [Row(str(number), row, ((1, PROBE),)) for number, row in enumerate(ids)]

    def logits(*chosen: Row) -> torch.Tensor:
        layout: Layout = lay(chosen, 0, len(chosen) * PROBE, net.model.device)
        with torch.inference_mode(), device.autocast():
            return line_logits(net, layout)[-(PROBE - 1) :].float()

    alone, behind, behind_other = logits(rows[2]), logits(rows[0], rows[2]), logits(rows[1], rows[2])
    return same(alone, behind) and bool((behind - behind_other).norm() <= LEAK * behind.norm())
