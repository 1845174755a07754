"""A teacher behind any OpenAI-compatible endpoint: one HTTP attempt a call, failures sorted by their cure.

Refuses to retry (`Pool` does) and to let the API key into any text it hands out.
"""

import asyncio
import os
import ssl
from collections.abc import Callable, Collection, Mapping
from time import perf_counter
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import unquote, urlsplit

import msgspec

from distill import __version__
from distill.errors import TeacherError, UsageError
from distill.teacher import wire
from distill.teacher.endpoint import identity, proxy_for, public_url
from distill.teacher.faults import (
    OF_REQUEST,
    Refusal,
    Scrub,
    context_tokens,
    status_fault,
    too_long,
    unsupported,
    withheld,
)
from distill.teacher.protocol import TryAgain
from distill.types import Completion, Request

if TYPE_CHECKING:
    import aiohttp

CONNECT_S = 10.0
IDLE_S = 30.0
LINGER_S = 0.05


class OpenAITeacher:
    """`model` at `base_url`. Prices are USD per million tokens; None means unknown, and so is then the cost.

    `left_out` is what the endpoint turned out not to support and is no longer sent; `on_left_out` hears of
    each such parameter when it is learned. Without `keep_alive` each call has a connection of its own.
    """

    def __init__(
        self,
        model: str,
        *,
        base_url: str,
        api_key: str,
        timeout_s: float = 120.0,
        price_in: float | None = None,
        price_out: float | None = None,
        left_out: Collection[str] = (),
        on_left_out: Callable[[str], None] | None = None,
        keep_alive: bool = True,
    ) -> None:
        import aiohttp

        self._model = model
        self.endpoint = public_url(base_url)
        self._identity = identity(model, base_url)
        self._url = f"{self.endpoint}/chat/completions"
        self._headers = headers(base_url, api_key, os.environ)
        self._proxy = proxy_for(base_url)
        self._scrub = Scrub(api_key)
        self._timeout = aiohttp.ClientTimeout(timeout_s, sock_connect=min(CONNECT_S, timeout_s))
        self._prices = (price_in, price_out)
        self.left_out = set(left_out)
        self._on_left_out = on_left_out
        self._keep_alive = keep_alive
        self._encoder = msgspec.json.Encoder()
        self._session: aiohttp.ClientSession | None = None

    @property
    def model(self) -> str:
        """The model's name, as the user gave it."""
        return self._model

    @property
    def identity(self) -> str:
        """Model and endpoint."""
        return self._identity

    async def complete(self, request: Request, sample: int = 0) -> Completion:
        """One attempt; a further one only to leave out what the endpoint says it does not support.

        A prompt that the provider's content filter turns down, or that does not fit the model's context, is
        answered: by no text, and that reason ("content_filter", "context_length").
        Raises TryAgain, CredentialsError, BudgetReached, UsageError (unknown model) or TeacherError.
        """
        while True:
            sent, started = wire.body(self._model, request, sample, self.left_out), perf_counter()
            answer = await self._post(sent)
            latency_s = perf_counter() - started
            if isinstance(answer, bytes):
                return wire.completion(
                    answer, model=self._model, prices=self._prices, latency_s=latency_s, scrub=self._scrub
                )
            if (reason := _answered(answer)) is not None:
                check_room(answer, request.max_tokens)
                return wire.refused(
                    answer.content, reason, model=self._model, prices=self._prices, latency_s=latency_s
                )
            self._leave_out(answer, sent)

    async def close(self) -> None:
        """Close the connections."""
        if self._session:
            await self._session.close()
            # aiohttp leaves it to the loop's next turns; an embedded server does not stop before.
            await asyncio.sleep(LINGER_S)

    def _leave_out(self, refusal: Refusal, sent: dict[str, Any]) -> None:
        """Remember what the endpoint cannot take. Raises the refusal's error where that is not the trouble.

        A call sent at the same time may have learned it first: then there is nothing to do but send again.
        """
        choices = sent.keys() - {"model", "messages"}
        name = unsupported(refusal, choices) if refusal.status in (400, 422) else None
        if name is None or name == wire.INSTEAD:
            raise status_fault(refusal, self._model, self.endpoint, self._scrub)
        if name not in self.left_out:
            self.left_out.add(name)
            if self._on_left_out:
                self._on_left_out(name)

    async def _post(self, sent: dict[str, Any]) -> bytes | Refusal:
        """The body of a success; else what was said instead. Raises TryAgain where no whole answer came."""
        import aiohttp

        data = self._encoder.encode(sent)
        try:
            # Not the session's headers: aiohttp gives those, the key among them, to a proxy too.
            async with self._connected().post(self._url, data=data, headers=self._headers) as response:
                content = await response.read()
                if response.status < 300:
                    return content
                told = {name.lower(): value for name, value in response.headers.items()}
                return Refusal(response.status, told, content)
        except (aiohttp.TooManyRedirects, aiohttp.InvalidURL, aiohttp.RedirectClientError) as error:
            raise TeacherError(
                f"{self.endpoint} redirects to nowhere ({type(error).__name__})", where="--base-url"
            ) from None
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise connection_fault(error, self.endpoint, self._timeout.total or 0.0) from None

    def _connected(self) -> "aiohttp.ClientSession":
        """The session, opened by the first call: it belongs to the loop that runs then."""
        import aiohttp

        if self._session is None:
            tls = tls_context() if self._url.startswith("https") else True
            kept = {"keepalive_timeout": IDLE_S} if self._keep_alive else {"force_close": True}
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, ssl=tls, **kept),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=self._timeout,
                proxy=self._proxy,
            )
        return self._session


def _answered(refusal: Refusal) -> Literal["content_filter", "context_length"] | None:
    """The finish reason of a refusal that is an answer to this very request."""
    if refusal.status not in OF_REQUEST:
        return None
    if withheld(refusal):
        return "content_filter"
    return "context_length" if too_long(refusal) else None


def check_room(refusal: Refusal, max_tokens: int) -> None:
    """Raises UsageError where the room asked for an answer alone is over the model's context window."""
    window = context_tokens(refusal) if too_long(refusal) else None
    if window is not None and max_tokens >= window:
        raise UsageError(
            f"room for {max_tokens} tokens of answer does not fit the teacher's context window of {window}",
            where="--max-answer-tokens",
            hint="ask for fewer: the prompt needs room too",
        )


def connection_fault(error: BaseException, endpoint: str, timeout_s: float) -> TryAgain:
    """No whole answer: tells an absent endpoint, a call that took too long and a dropped connection apart."""
    import aiohttp

    if isinstance(error, aiohttp.ClientSSLError):
        return TryAgain(f"cannot connect to {endpoint}: {error}", unreachable=True)
    if isinstance(error, (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)):
        return TryAgain(f"cannot connect to {endpoint}", unreachable=True)
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return TryAgain(f"the proxy before {endpoint} answers HTTP {error.status}", unreachable=True)
    if isinstance(error, TimeoutError):
        return TryAgain(f"no answer from {endpoint} within {timeout_s:g} s", lost=True, overdue=True)
    return TryAgain(f"{endpoint} dropped the connection", lost=True)


def headers(base_url: str, api_key: str, environment: Mapping[str, str]) -> dict[str, str]:
    """What goes with every call. A user and password in the URL go before the key, as RFC 3986 has them."""
    parts = urlsplit(base_url)
    authorization = f"Bearer {api_key}"
    if parts.username is not None:
        import aiohttp

        user, password = unquote(parts.username), unquote(parts.password or "")
        authorization = aiohttp.encode_basic_auth(user, password)
    sent = {
        "Authorization": authorization,
        "Accept": "application/json",
        "Content-Type": "application/json",
        "User-Agent": f"distill/{__version__}",
    }
    for name, variable in (("Organization", "OPENAI_ORG_ID"), ("Project", "OPENAI_PROJECT_ID")):
        if value := environment.get(variable, "").strip():
            sent[f"OpenAI-{name}"] = value
    return sent


def tls_context() -> ssl.SSLContext:
    """Trusts what the system trusts and, where the environment names no others, the roots of certifi."""
    context = ssl.create_default_context()
    if not os.environ.get("SSL_CERT_FILE") and not os.environ.get("SSL_CERT_DIR"):
        try:
            import certifi
        except ImportError:
            return context
        context.load_verify_locations(certifi.where())
    return context
