"""Bodies that are files go from the page cache to the socket without passing through Python.

Laws: headers and whatever else was written go first. One job a connection; the next request is
read after the answer is finished, so nobody else writes meanwhile. A wake-up sends TURN_BYTES at
most. A job that waits for bytes costs nothing. The job does not own the body: whoever started it
closes it.
"""

from __future__ import annotations

from typing import Any

from twisted.internet import main, tcp, unix
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.python.failure import Failure
from zope.interface import implementer

from regproxy.errors import ContentMismatch, RegproxyError, TransferStopped
from regproxy.interfaces import IFileBody

TURN_BYTES = 1024 * 1024


class SendfileServer(tcp.Server):
    """A client's TCP connection that takes files whole."""

    _job: FileJob | None = None

    def send_file(self, job: FileJob) -> None:
        """Send ``job``'s bytes after what is buffered; it says itself when it is done."""
        self._job = job
        self.startWriting()

    def forget_file(self) -> None:
        """The job is over, whatever became of it."""
        self._job = None
        if not self.dataBuffer and not self._tempDataBuffer:
            self.stopWriting()

    def doWrite(self) -> Any:
        """The socket takes more."""
        job = self._job
        if job is None:
            return tcp.Server.doWrite(self)
        if self.dataBuffer or self._tempDataBuffer:
            why = tcp.Server.doWrite(self)
            if why is None and self._job is not None:
                self.startWriting()
            return why
        if self.disconnecting:
            return main.CONNECTION_DONE
        return job.push()


@implementer(IPushProducer)
class FileJob:
    """The next ``length`` bytes of ``body`` to one connection. ``done`` fires when the kernel has them.

    ``done`` fails with what ended it early: what the body raises, ContentMismatch for a body that
    ends before ``length``, TransferStopped when the client leaves. Cancelling it ends the job.
    """

    def __init__(self, transport: SendfileServer, body: IFileBody, length: int, upstream: str) -> None:
        self._transport = transport
        self._body = body
        self._left = length
        self._upstream = upstream
        self._over = False
        self.sent_bytes = 0
        self.done: Deferred[None] = Deferred(lambda _: self._end())

    def __repr__(self) -> str:
        return f"<FileJob {self.sent_bytes} sent, {self._left} left>"

    def push(self) -> Any:
        """Send what may be sent now; what doWrite is to return."""
        try:
            sent = self._body.send_file(self._transport.fileno(), min(TURN_BYTES, self._left))
        except BlockingIOError:
            return None
        except OSError:
            return main.CONNECTION_LOST
        except RegproxyError as error:
            self._finish(error)
            return None
        if sent is None:
            self._wait()
        elif sent == 0:
            self._finish(ContentMismatch(self._upstream, "the body ended before the length promised"))
        else:
            self.sent_bytes += sent
            self._left -= sent
            if self._left == 0:
                self._finish(None)
        return None

    def _wait(self) -> None:
        """The body has nothing at hand: sleep until it has, or has failed."""
        self._transport.stopWriting()
        self._body.ready().addErrback(lambda failure: failure.trap(RegproxyError) and None).addCallback(
            self._wake
        )

    def _wake(self, _: object) -> None:
        if not self._over:
            self._transport.startWriting()

    def _end(self) -> None:
        if self._over:
            return
        self._over = True
        self._transport.forget_file()

    def _finish(self, error: RegproxyError | None) -> None:
        if self._over:
            return
        self._end()
        if error is None:
            self.done.callback(None)
        else:
            self.done.errback(Failure(error))

    def pauseProducing(self) -> None:
        """The transport asks the socket itself."""

    def resumeProducing(self) -> None:
        """The transport asks the socket itself."""

    def stopProducing(self) -> None:
        """The connection is lost."""
        self._finish(TransferStopped("the client left"))


def takes_files(transport: object, body: object) -> bool:
    """Whether ``body`` can go to ``transport`` by sendfile.

    By type, never by attribute: a TLS transport forwards unknown attributes, and plaintext would
    go into the encrypted connection.
    """
    return isinstance(transport, SendfileServer) and IFileBody.providedBy(body)


def enable(port: object) -> None:
    """Let the connections that come in by ``port`` take files, where they are plain TCP.

    Twisted's port of a unix socket is one of TCP's, and has connections of its own kind.
    """
    if isinstance(port, tcp.Port) and not isinstance(port, unix.Port):
        port.transport = SendfileServer
