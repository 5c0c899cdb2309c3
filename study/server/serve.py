"""The server's own process: it is given a socket that listens already, and the token where nobody else can read it."""

import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import uvicorn

from study.server.gate import Application


def serve(build: Callable[[Path, str, int], Application]) -> None:
    """Serve what `build` makes of folder, token and port until a signal comes.

    Arguments of the process: the folder, and the number of the socket that it inherits. The token is the first line of
    its input: arguments are shown to every user of the machine, and the environment is handed on. Where the input ends,
    who started the server is gone, and so it goes too.
    """
    folder, descriptor = Path(sys.argv[1]), int(sys.argv[2])
    token = sys.stdin.readline().strip()
    with socket.socket(fileno=descriptor) as listening:
        app = build(folder, token, listening.getsockname()[1])
        # No log of requests: the first one's address holds the token.
        server = uvicorn.Server(uvicorn.Config(app, access_log=False, proxy_headers=False, server_header=False))
        threading.Thread(target=_end_with_input, args=[server], daemon=True).start()
        server.run(sockets=[listening])


def _end_with_input(server: uvicorn.Server) -> None:
    sys.stdin.read()
    server.should_exit = True
