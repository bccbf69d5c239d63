"""Connections of `recsweep serve` that leave when nothing comes of them."""

import asyncio
import socket
from typing import Any

import uvicorn
from uvicorn.protocols.http.auto import AutoHTTPProtocol
from uvicorn.supervisors import Multiprocess

HEAD_SECONDS = 10
"""Seconds that a client may take from connecting, or from the end of an answer, to the end of the
headers of its request. Between two requests uvicorn itself waits only 5 s for the first byte."""

SEND_SECONDS = 60
"""Seconds that a client may take to read so much of an answer that more of it can be sent."""


class SharingLoop(asyncio.SelectorEventLoop):
    """The loop of one of several workers that listen to the same socket.

    asyncio takes all connections that wait at once, so that the worker that wakes first would have
    a burst of clients to itself for as long as they stay. This one takes one, and looks what else
    there is to do, while the others wake.
    """

    async def create_server(
        self, *arguments: Any, sock: Any = None, backlog: int = 100, **options: Any
    ) -> asyncio.Server:
        if sock is not None:  # asyncio asks for it where it has made the socket: else an answer in
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # two parts waits 40 ms
        # `backlog` is both how many are taken at once and how many may wait
        server = await super().create_server(*arguments, sock=sock, backlog=1, **options)
        if sock is not None:
            sock.listen(backlog)
        return server


def run(app: str, *, workers: int, **settings: Any) -> None:
    """Serve an application until a signal ends it, as `uvicorn.run` does.

    Args:
        app: Its name for uvicorn.
        workers: Number of processes; one is this one.
        settings: Further settings of uvicorn.
    """
    if workers == 1:
        uvicorn.run(app, **settings)
        return
    config = uvicorn.Config(app, workers=workers, **settings)
    Workers(config, [config.bind_socket()]).run()


class Workers(Multiprocess):
    """uvicorn's worker processes, whose end is seen at once.

    Each is asked again and again whether it lives, over a pipe of which uvicorn holds both ends: of
    a worker that dies while it is asked, it would wait for the answer for as long as a worker may
    be silent, and be deaf to signals until then.
    """

    def init_processes(self) -> None:
        super().init_processes()
        self._let_go()

    def keep_subprocess_alive(self) -> None:
        super().keep_subprocess_alive()
        self._let_go()

    def _let_go(self) -> None:
        """Close the workers' ends, which they have themselves since they started."""
        for process in self.processes:
            process.child_conn.close()


class BoundedProtocol(AutoHTTPProtocol):  # type: ignore[misc, valid-type]
    """uvicorn's connection, closed where the client falls silent; uvicorn has limits for the time
    between requests alone."""

    _waiting: asyncio.TimerHandle | None = None
    _sending: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        # requests beyond the limit get 503; what does not even ask may not hold places for ever
        if (
            self.limit_concurrency is not None
            and len(self.connections) > 2 * self.limit_concurrency
        ):
            transport.abort()
            return
        self._wait()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._asks:
            self._stop("_waiting")
        elif self._waiting is None:
            self._wait()

    def connection_lost(self, error: Exception | None) -> None:
        self._stop("_waiting")
        super().connection_lost(error)
        self._stop("_sending")

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._sending is None:
            self._sending = self.loop.call_later(SEND_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        self._stop("_sending")
        super().resume_writing()

    @property
    def _asks(self) -> bool:
        """Whether a request is under way, whose body and answer have limits of their own."""
        return self.cycle is not None and not self.cycle.response_complete

    def _wait(self) -> None:
        self._waiting = self.loop.call_later(HEAD_SECONDS, self._leave)

    def _leave(self) -> None:
        self._waiting = None
        if not self._asks:
            self.transport.close()

    def _stop(self, timer: str) -> None:
        if (running := getattr(self, timer)) is not None:
            running.cancel()
        setattr(self, timer, None)
