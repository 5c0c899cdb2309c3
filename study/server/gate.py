"""The gate before a web application: only who has the token gets in, and only to the routes that are open.

What isn't listed is shut, so that a new version's new routes are shut until somebody opens them. A request passes if

1. its Host is this server's: a page of another name that resolves to loopback has another one (DNS rebinding);
2. it comes from no other origin, another port of this machine included: browsers send cookies to all ports of a host;
3. it brings the token: in the address of the first page, from then on in a cookie that scripts can't read;
4. its method and path are listed. No listed path needs an escape, so that one with `%`, `..` or `//` is shut.
"""

import hmac
import logging
import re
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any
from urllib.parse import parse_qs

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]
"""An ASGI application."""

PLAIN = re.compile(r"(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+|/")
"""A path that every server reads alike: no escape, no empty part, none that begins with a dot."""
DOOR = b"""<!doctype html><title>opening</title><script>location.replace("/" + location.hash)</script>
<noscript>This page needs JavaScript.</noscript>"""
"""Leaves the token out of the address bar. A redirect wouldn't do: a browser that comes from elsewhere, an editor's
terminal for one, follows it without the strict cookie."""
HEADERS = (
    (
        b"content-security-policy",
        b"default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; "
        b"frame-ancestors 'none'; form-action 'self'; base-uri 'self'",
    ),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"referrer-policy", b"no-referrer"),
)
"""Of each answer: nothing is fetched from elsewhere or sent there, and no other page may frame or read it."""
HEALTH = "GET /health"
"""The gate's own: it says that the application is there."""

logger = logging.getLogger(__name__)


class Gate:
    """An ASGI application around another one."""

    def __init__(self, app: Application, routes: Iterable[str], token: str, port: int) -> None:
        """Serve `routes` of `app`, each `GET /a/<name>` or, for all below it, `GET /a/<path>`, to who has the token."""
        self._app = app
        self._routes = [_pattern(route) for route in routes]
        self._token = token.encode()
        self._hosts = {f"{name}:{port}".encode() for name in ("127.0.0.1", "localhost")}
        self._cookie = f"{cookie_name(port)}=".encode()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _live(receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            await self._answer(scope, receive, _with_headers(send))

    async def _answer(self, scope: Message, receive: Receive, send: Send) -> None:
        method, path = str(scope["method"]), scope["raw_path"].decode("latin-1")
        is_plain = PLAIN.fullmatch(path) is not None and path == scope["path"]
        if not self._is_own_host(scope):
            await respond(send, 403, b"this server has another name: open the link that was printed\n")
        elif (method, path) == ("GET", "/") and self._is_token(_asked(scope)):
            cookie = self._cookie + self._token + b"; Path=/; HttpOnly; SameSite=Strict"
            await respond(send, 200, DOOR, "text/html", [(b"set-cookie", cookie), (b"cache-control", b"no-store")])
        elif not self._is_own_page(scope) or not any(map(self._is_token, self._cookies(scope))):
            await respond(send, 403, b"only who has the token gets in: open the link that was printed\n")
        elif f"{method} {path}" == HEALTH:
            await respond(send, 200, b"OK")
        elif not is_plain or not any(route.fullmatch(f"{method} {path}") for route in self._routes):
            logger.warning("shut: %s %s", method, path if is_plain else "a path that isn't plain")
            await respond(send, 404, b"this server is for looking only: this route is shut\n")
        else:
            await self._app(scope, receive, send)

    def _is_own_host(self, scope: Message) -> bool:
        hosts = _header(scope, b"host")
        return len(hosts) == 1 and hosts[0] in self._hosts

    def _is_own_page(self, scope: Message) -> bool:
        own = {b"http://" + host for host in self._hosts}
        sites = {b"same-origin", b"none"}  # none: typed, or from outside a browser's page
        return set(_header(scope, b"origin")) <= own and set(_header(scope, b"sec-fetch-site")) <= sites

    def _cookies(self, scope: Message) -> Iterable[bytes]:
        for header in _header(scope, b"cookie"):
            for cookie in header.split(b";"):
                if cookie.strip().startswith(self._cookie):
                    yield cookie.strip().removeprefix(self._cookie)

    def _is_token(self, given: bytes) -> bool:
        return hmac.compare_digest(given, self._token)


def cookie_name(port: int) -> str:
    """One for each port: a browser keeps the cookies of all ports of a host together."""
    return f"wake2vec_{port}"


async def respond(
    send: Send, status: int, body: bytes, kind: str = "text/plain", more: Iterable[tuple[bytes, bytes]] = ()
) -> None:
    """Send a whole answer."""
    headers = [(b"content-type", f"{kind}; charset=utf-8".encode()), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": [*headers, *more]})
    await send({"type": "http.response.body", "body": body})


def _pattern(route: str) -> re.Pattern[str]:
    """`GET /a/<path>` -> `GET /a/.+`; a path that isn't plain is refused before."""
    parts = re.split(r"(<\w+>)", route)
    wild = {"<path>": ".+"}
    return re.compile("".join(wild.get(part, "[^/]+") if part.startswith("<") else re.escape(part) for part in parts))


def _header(scope: Message, name: bytes) -> list[bytes]:
    return [value for key, value in scope["headers"] if key == name]


def _asked(scope: Message) -> bytes:
    """The token of the address."""
    return parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0].encode()


def _with_headers(send: Send) -> Send:
    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", []), *HEADERS]}
        await send(message)

    return sent


async def _live(receive: Receive, send: Send) -> None:
    """Begin and end without the application: what MLflow does at its start, it does for its assistant."""
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
