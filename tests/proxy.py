"""A TCP proxy on loopback between a client and its server, which loses connections, or says nothing more, as networks do."""

import contextlib
import random
import socket
import struct
import threading
from typing import Self


class Proxy:
    """Forwards everything to a port of this machine, as long as nothing else was asked for; a context manager.

    Attributes:
        port: where it listens.
        lost: connections it has cut.
        cut_share: the probability with which a piece of an answer is withheld and its connection cut with a reset. What was
            asked for has been done by then: to the client it is open whether it was.
        silent: while True nothing is forwarded any more, in neither direction, and nothing closed.
    """

    def __init__(self, target: int, seed: int = 0) -> None:
        self._target = target
        self._random = random.Random(seed)
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.lost = 0
        self.cut_share = 0.0
        self.silent = False
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut_all()

    def cut_all(self) -> None:
        """Cut every connection that is open."""
        with self._lock:
            ends, self._open = self._open, set()
        for end in ends:
            _reset(end)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._target))
            except OSError:  # it was closed, or the server is away
                if self._listener.fileno() < 0:
                    return
                _reset(client)
                continue
            with self._lock:
                self._open |= {client, server}
            for source, sink, answers in ((client, server, False), (server, client, True)):
                threading.Thread(target=self._forward, args=(source, sink, answers), daemon=True).start()

    def _forward(self, source: socket.socket, sink: socket.socket, answers: bool) -> None:
        with contextlib.suppress(OSError):
            while piece := source.recv(65_536):
                if self.silent:
                    continue  # taken, and lost
                if answers and self._random.random() < self.cut_share:
                    with self._lock:
                        self.lost += 1
                    break
                sink.sendall(piece)
        with self._lock:
            self._open -= {source, sink}
        _reset(source)
        _reset(sink)


def _reset(end: socket.socket) -> None:
    """Close with a reset rather than an orderly end."""
    with contextlib.suppress(OSError):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        end.shutdown(socket.SHUT_RDWR)
    end.close()
