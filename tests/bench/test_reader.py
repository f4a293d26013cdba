"""The bench's client counts exactly what is sent and never takes a failure for an answer."""

from __future__ import annotations

import socket
import threading

import pytest

from bench.errors import BenchFailed
from bench.reader import Reader, Request, read
from tests.bench.served import served

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: "


def test_counts_bodies_whole_and_in_pieces() -> None:
    big = b"x" * 3_000_000
    answers = (
        [HEAD + b"5\r\n\r\nhello"],
        [HEAD[:9], HEAD[9:] + b"3000000\r\n", b"\r\n", big],
        [HEAD + b"0\r\n\r\n"],
    )
    with served(*answers) as netloc:
        reading = read(netloc, "/a", "/b", "/c")
    assert (reading.body_bytes, reading.answers) == (3_000_005, 3)
    assert len(reading.first_bytes_s) == 2, "an empty body has no first byte"
    assert 0 < reading.first_byte_ms < 10_000


def test_an_answer_to_head_has_no_body_whatever_its_length() -> None:
    with served([HEAD + b"4096\r\n\r\n"], [HEAD + b"2\r\n\r\nok"]) as netloc:
        reading = Reader(netloc, [Request("/a", "HEAD"), Request("/b")], 1).run()
    assert (reading.body_bytes, reading.answers) == (2, 2)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ([b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"], "no success"),
        ([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"], "without Content-Length"),
        ([HEAD + b"10\r\n\r\nhello", b""], "5 bytes before the end"),
        ([HEAD, b""], "before an answer"),
    ],
)
def test_what_is_no_right_answer_ends_the_bench(answer: list[bytes], message: str) -> None:
    with served(answer) as netloc, pytest.raises(BenchFailed, match=message):
        read(netloc, "/a")


def test_connections_share_the_requests() -> None:
    with served([HEAD + b"1\r\n\r\na"], [HEAD + b"1\r\n\r\nb"]) as netloc:
        assert read(netloc, "/a", "/b", connections=2).body_bytes == 2


def test_a_server_that_is_silent_ends_the_bench_at_the_limit() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, pytest.raises(BenchFailed, match="in time"):
        read(f"127.0.0.1:{listener.getsockname()[1]}", "/a", limit_s=0.05)


def test_a_reading_for_a_time_ends_in_the_middle_of_a_body() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        lines: list[socket.socket] = []

        def answer() -> None:
            line, _ = listener.accept()
            line.recv(4096)
            line.sendall(HEAD + b"1000000\r\n\r\n" + b"x" * 1000)
            lines.append(line)

        thread = threading.Thread(target=answer)
        thread.start()
        reading = Reader(f"127.0.0.1:{listener.getsockname()[1]}", [Request("/a")], 1).run(seconds=0.3)
        thread.join()
        lines[0].close()
    assert (reading.body_bytes, reading.answers) == (1000, 0)
