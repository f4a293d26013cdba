"""A server of scripted bytes, one connection at a time, in a thread."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator, Sequence


@contextlib.contextmanager
def served(*answers: Sequence[bytes]) -> Iterator[str]:
    """The netloc of a server whose n-th request is answered by these pieces; b"" closes the line."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10)
        thread = threading.Thread(target=_serve, args=(listener, list(answers)))
        thread.start()
        try:
            yield f"127.0.0.1:{listener.getsockname()[1]}"
        finally:
            thread.join(10)


def _serve(listener: socket.socket, answers: list[Sequence[bytes]]) -> None:
    while answers:
        line, _ = listener.accept()
        with line:
            line.settimeout(10)
            line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            _answer(line, answers)


def _answer(line: socket.socket, answers: list[Sequence[bytes]]) -> None:
    heard = b""
    while answers:
        while b"\r\n\r\n" not in heard:
            came = line.recv(65536)
            if not came:
                return
            heard += came
        heard = heard.partition(b"\r\n\r\n")[2]
        for piece in answers.pop(0):
            if not piece:
                return
            line.sendall(piece)
