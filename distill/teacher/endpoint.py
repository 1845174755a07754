"""What a base URL must be, and what of it may be shown.

Refuses to put a URL it turns down into the error: it may hold a password.
"""

import ipaddress
from urllib.parse import SplitResult, urlsplit

from distill.errors import UsageError

FLAG = "--base-url"
VARIABLE = "$OPENAI_BASE_URL"


def public_url(url: str, where: str = FLAG) -> str:
    """`url` without user, password, query and fragment, any of which may hold a secret. Raises UsageError."""
    parts = _parts(url, where)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path.rstrip('/')}"


def check_flag(url: str) -> None:
    """Refuse what run.json must not hold: --base-url is written there. Raises UsageError."""
    check_variable(url, FLAG)
    if "@" in _parts(url, FLAG).netloc:
        raise UsageError(
            "the base URL has a user or password in it, and would be written to run.json",
            where=FLAG,
            hint="give it in the environment: OPENAI_BASE_URL, or a key as OPENAI_API_KEY",
        )


def check_variable(url: str, where: str = VARIABLE) -> None:
    """Refuse what no call could be sent to. Raises UsageError."""
    parts = _parts(url, where)
    if parts.query or parts.fragment:
        raise UsageError(
            "the base URL has a query or fragment in it",
            where=where,
            hint="end it at the path, such as /v1; give a key as OPENAI_API_KEY",
        )


def identity(model: str, url: str) -> str:
    """What a model at an endpoint is known by in ledgers and summaries."""
    return f"{model} @ {public_url(url)}"


def is_loopback(url: str) -> bool:
    """Does `url` name this very machine?"""
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def proxy_for(url: str) -> str | None:
    """The proxy on the way to `url`: of HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY, or the system's.

    None for this machine's own loopback, which no proxy can reach. Raises UsageError for a SOCKS proxy.
    """
    if is_loopback(url):
        return None
    from urllib.request import getproxies, proxy_bypass

    parts, proxies = urlsplit(url), getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if not proxy or proxy_bypass(parts.netloc.rpartition("@")[2]):
        return None
    scheme, separator, _ = proxy.partition("://")
    if separator and scheme not in ("http", "https"):
        raise UsageError(
            f"a {scheme} proxy is not supported",
            where=f"${parts.scheme.upper()}_PROXY, $ALL_PROXY",
            hint="name an HTTP proxy, or list the endpoint's host in NO_PROXY",
        )
    return proxy if separator else f"http://{proxy}"


def _parts(url: str, where: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        host = (parts.hostname or "").encode("idna")
        port = parts.port  # raises where it is no number up to 65535
    except ValueError:
        host, port = b"", None
    if not host or port == 0 or parts.scheme not in ("http", "https") or not _is_printed(url):
        raise UsageError(
            "the base URL is not of the form http://HOST:PORT/PATH or https://…",
            where=where,
            hint="such as http://localhost:8000/v1",
        )
    return parts


def _is_printed(url: str) -> bool:
    return url.isprintable() and " " not in url
