"""The network of the tests: a raw HTTP client, the backend, and the address of the operator.

Raw sockets, because HTTP libraries normalize what is tested here: repeated headers, their spelling,
and odd methods.
"""

import json
import socket
import threading
import time

HOST = "127.0.0.1"
# The ports of examples/integrations.
OPERATOR_PORT = 18080
BACKEND_PORT = 18090
# In seconds. Longer than any proxy waits for the operator.
TIMEOUT = 40


class Reply:
    """The response to a request."""

    def __init__(self, status, headers, body):
        self.status = status
        self.headers = headers
        self.body = body

    def json(self):
        return json.loads(self.body)

    def __repr__(self):
        return f"{self.status} {self.body[:100]!r}"


def read_head(stream):
    """Reads a start line and the headers, as a list of pairs. None at the end of the stream."""
    start = stream.readline()
    if not start:
        return None
    headers = []
    while line := stream.readline().rstrip(b"\r\n"):
        name, _, value = line.partition(b":")
        headers.append((name.decode("latin-1"), value.strip(b" \t").decode("latin-1")))
    return start.decode("latin-1").rstrip("\r\n"), headers


def read_body(stream, headers):
    """Reads a body of known length or in chunks."""
    values = {name.lower(): value for name, value in headers}
    if "chunked" in values.get("transfer-encoding", ""):
        body = b""
        while size := int(stream.readline().split(b";")[0], 16):
            body += stream.read(size)
            stream.readline()
        stream.readline()
        return body
    return stream.read(int(values.get("content-length", 0)))


def send(port, method, path, headers=(), body=None, chunked=False):
    """Sends exactly these headers on a new connection."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: {HOST}:{port}"]
    lines += [f"{name}: {value}" for name, value in headers]
    if not any(name.lower() == "connection" for name, _ in headers):
        lines.append("Connection: close")
    if chunked:
        lines.append("Transfer-Encoding: chunked")
        body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    elif body is not None:
        lines.append(f"Content-Length: {len(body)}")
    with socket.create_connection((HOST, port), timeout=TIMEOUT) as connection:
        connection.sendall("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n")
        try:
            connection.sendall(body or b"")
        except OSError:
            pass  # The response may come before the end of the body.
        stream = connection.makefile("rb")
        head = read_head(stream)
        if head is None:
            return Reply(0, [], b"")
        start, received = head
        status = int(start.split()[1])
        empty = method == "HEAD" or status in (204, 304)
        return Reply(status, received, b"" if empty else read_body(stream, received))


def wait_for_port(port, process=None, seconds=30):
    """Waits until the port accepts connections."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection((HOST, port), timeout=1).close()
            return
        except OSError:
            if process and process.poll() is not None:
                raise RuntimeError(f"{process.args} exited with {process.returncode}") from None
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


class Listener:
    """Accepts connections on a port, each in a thread of its own."""

    def __init__(self, port, handle):
        self.handle = handle
        self.socket = socket.create_server((HOST, port), backlog=256)
        self.open = True
        self.connections = set()
        self.lock = threading.Lock()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            with self.lock:
                if not self.open:
                    connection.close()
                    continue
                self.connections.add(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        try:
            with connection:
                self.handle(connection)
        except (OSError, ValueError):
            pass
        finally:
            with self.lock:
                self.connections.discard(connection)

    def reset_connections(self):
        """Ends every open connection."""
        with self.lock:
            for connection in self.connections:
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass

    def close(self):
        with self.lock:
            self.open = False
        try:
            self.socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.socket.close()
        self.reset_connections()


class Backend:
    """Records every request that it receives, by its path, and answers 200."""

    def __init__(self):
        self.requests = {}
        self.listener = Listener(BACKEND_PORT, self._handle)

    def _handle(self, connection):
        stream = connection.makefile("rb")
        while head := read_head(stream):
            (start, headers), body = head, b""
            method, path, _ = start.split(" ", 2)
            body = read_body(stream, head[1])
            self.requests.setdefault(path, []).append((method, headers, body))
            reply = b"" if method == "HEAD" else b"backend"
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(b"backend"), reply))

    def received(self, path):
        return self.requests.get(path, [])


class OperatorAddress:
    """The address at which the configurations expect the operator.

    Connections are forwarded to the port of a running operator, or meet a fault instead.
    """

    def __init__(self):
        self.listener = None
        self.set_target(None)

    def set_target(self, port):
        """Forwards to this port; None: the port is closed."""
        self._restart(None if port is None else lambda connection: forward(connection, port))

    def set_fault(self, fault):
        """`refuse`, `hang`, `close`, or the status of every answer."""
        if fault == "refuse":
            self._restart(None)
        elif fault == "hang":
            self._restart(hang)
        elif fault == "close":
            self._restart(lambda connection: connection.recv(1))
        else:
            self._restart(lambda connection: answer(connection, fault))

    def _restart(self, handle):
        if self.listener:
            self.listener.close()
            self.listener = None
        if handle:
            self.listener = Listener(OPERATOR_PORT, handle)


def forward(connection, port):
    with socket.create_connection((HOST, port), timeout=TIMEOUT) as upstream:
        upstream.settimeout(None)
        back = threading.Thread(target=copy, args=(upstream, connection), daemon=True)
        back.start()
        copy(connection, upstream)
        back.join()


def copy(source, target):
    try:
        while data := source.recv(65536):
            target.sendall(data)
    except OSError:
        pass
    for end in (source, target):
        try:
            end.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


def hang(connection):
    while connection.recv(65536):
        pass


def answer(connection, status):
    stream = connection.makefile("rb")
    while head := read_head(stream):
        read_body(stream, head[1])
        location = b"Location: http://127.0.0.1:18090/\r\n" if status == 302 else b""
        connection.sendall(b"HTTP/1.1 %d Fault\r\n%sContent-Length: 0\r\n\r\n" % (status, location))
