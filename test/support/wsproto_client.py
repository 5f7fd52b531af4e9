"""Plays the scenario of test/interop/scenario.ts with `wsproto`, which brings no sockets of its own."""

import json
import socket
import sys
from urllib.parse import urlsplit

from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Ping,
    Pong,
    Request,
    TextMessage,
)


class Client:
    def __init__(self, url):
        where = urlsplit(url)
        self.tcp = socket.create_connection((where.hostname, where.port), timeout=20)
        self.ws = WSConnection(ConnectionType.CLIENT)
        self.send(Request(host=where.netloc, target=where.path, subprotocols=["one", "two"]))

    def send(self, event):
        self.tcp.sendall(self.ws.send(event))

    def next(self, kind):
        """The next message or event of that kind; parts of messages are joined."""
        data = None
        while True:
            for event in self.ws.events():
                if not isinstance(event, kind):
                    raise SystemExit(f"expected {kind.__name__}, got {event!r}")
                if not hasattr(event, "message_finished"):
                    return event
                data = event.data if data is None else data + event.data
                if event.message_finished:
                    return data
            received = self.tcp.recv(65536)
            self.ws.receive_data(received or None)


url, scenario = sys.argv[1], json.loads(sys.argv[2])
client = Client(url)
protocol = client.next(AcceptConnection).subprotocol
echoed = []
for text in scenario["texts"]:
    client.send(TextMessage(data=text))
    echoed.append(client.next(TextMessage))
client.send(BytesMessage(data=bytes(scenario["binary"])))
binary = list(client.next(BytesMessage))
client.send(Ping(payload=b"are you there"))
assert bytes(client.next(Pong).payload) == b"are you there"
client.send(CloseConnection(code=4321, reason="enough"))
close = client.next(CloseConnection)
print(
    json.dumps(
        {
            "protocol": protocol,
            "texts": echoed,
            "binary": binary,
            "code": close.code,
            "reason": close.reason,
        }
    )
)
