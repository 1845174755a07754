"""What a step has spent by its ledger and its budget's journal, and what one more prompt may come to.

Refuses to take a call without an answer for a call without a price: what may have been billed is spent.
"""

from collections.abc import Iterable
from pathlib import Path

import msgspec

from distill.errors import UsageError
from distill.store import jsonl
from distill.teacher.ledger import Usage
from distill.teacher.prices import Prices
from distill.teacher.wire import cost_usd
from distill.types import Request

# What a chat template and a provider add of their own, in tokens (OpenAI's cookbook counts 3 a message).
A_MESSAGE = 16
A_REQUEST = 256
LINE_BYTES = 256
NOISE_USD = 1e-9  # what sums of the same costs in another order may differ by


class Standing(msgspec.Struct, frozen=True):
    """What a step has spent, in USD: on answers, on calls that may have been billed for none, in flight."""

    recorded_usd: float = 0.0
    lost_usd: float = 0.0
    in_flight_usd: float = 0.0

    @property
    def total_usd(self) -> float:
        """All of it."""
        return self.recorded_usd + self.lost_usd + self.in_flight_usd


class _Line(msgspec.Struct, frozen=True):
    """What is read of a ledger line to add up what was paid."""

    request: Request
    usage: Usage
    cost_usd: float | None


def standing(ledger: Path, journal: Path, prices: Prices) -> Standing:
    """What a step's earlier sessions spent, by its ledger and by what they had in flight when they ended.

    A call the ledger has no price for is priced by its tokens, or at its worst where it has no tokens. Raises
    UsageError where the journal is damaged, DataError where the ledger is.
    """
    recorded = sum(_paid(ledger, prices))
    before = _journal(journal)
    # What was answered and not in the ledger yet when the process was killed is in the journal alone.
    missing = before.recorded_usd - recorded
    lost = before.lost_usd + before.in_flight_usd + (missing if missing > NOISE_USD else 0.0)
    return Standing(recorded, lost)


def reconcile(ledger: Path, journal: Path, prices: Prices) -> None:
    """Bring a journal, if there is one, up to date for a session that has no budget and will not write it."""
    if journal.exists():
        jsonl.replace_bytes(journal, [journal_line(standing(ledger, journal, prices))])


def most_prompt_tokens(request: Request) -> int:
    """More tokens than any tokenizer makes of the prompt: none makes more than one of a byte.

    Byte-level BPE (Radford et al. 2019) and SentencePiece with byte fallback both end at single bytes.
    """
    texts = sum(len(message.content.encode(errors="surrogatepass")) for message in request.messages)
    schema = len(msgspec.json.encode(request.response_format)) if request.response_format else 0
    return texts + schema + A_MESSAGE * len(request.messages) + A_REQUEST


def journal_line(now: Standing) -> bytes:
    """What a journal holds, of one length always: written in place it leaves nothing of the one before."""
    return msgspec.json.encode(now).ljust(LINE_BYTES - 1) + b"\n"


def _paid(ledger: Path, prices: Prices) -> Iterable[float]:
    for _, line in jsonl.read(ledger, _Line) if ledger.exists() else ():
        if line.cost_usd is not None:
            yield line.cost_usd
            continue
        used = line.usage
        usd = cost_usd(used.prompt_tokens, used.completion_tokens, prices.input, prices.output)
        if usd is None:
            tokens = most_prompt_tokens(line.request)
            usd = cost_usd(tokens, line.request.max_tokens, prices.input, prices.output)
        yield usd or 0.0


def _journal(path: Path) -> Standing:
    try:
        text = path.read_bytes()
        return msgspec.json.decode(text, type=Standing) if text.strip() else Standing()
    except FileNotFoundError:
        return Standing()
    except OSError as error:
        raise UsageError(f"cannot be read: {error.strerror}", where=str(path)) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UsageError(
            f"damaged: {error}", where=str(path), hint="delete it; calls it remembers may have been billed"
        ) from None
