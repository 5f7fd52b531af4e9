"""Reads HTTP messages with `h11`, a strict parser that is not Node's.

One JSON object a line: {"bytes": base64} of a request, or with "asked": method, of the answer to one.
Prints one line for each: {"start": [...], "headers": [[name, value], ...], "body": hex,
"trailers": [...], "whole": bool, "rest": bytes behind it} or {"error": sentence}.
"""

import base64
import json
import sys

import h11


def fields(headers):
    return [[name.decode("latin1"), value.decode("latin1")] for name, value in headers]


def read(data, asked):
    if asked is None:
        parser = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    else:
        parser = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 20)
        parser.send(h11.Request(method=asked, target="/", headers=[("Host", "h")]))
        parser.send(h11.EndOfMessage())
    message = {"start": None, "headers": [], "body": "", "trailers": [], "whole": False, "rest": 0}
    parser.receive_data(data)
    if asked is not None:
        parser.receive_data(b"")
    while True:
        event = parser.next_event()
        if event in (h11.NEED_DATA, h11.PAUSED) or isinstance(event, h11.ConnectionClosed):
            return message
        if isinstance(event, h11.Request):
            message["start"] = [event.method.decode("latin1"), event.target.decode("latin1")]
            message["headers"] = fields(event.headers)
        elif isinstance(event, h11.Response):
            message["start"] = [event.status_code, event.reason.decode("latin1")]
            message["headers"] = fields(event.headers)
        elif isinstance(event, h11.Data):
            message["body"] += event.data.hex()
        elif isinstance(event, h11.EndOfMessage):
            message["trailers"] = fields(event.headers)
            message["whole"] = True
            message["rest"] = len(parser.trailing_data[0])
            return message


for line in sys.stdin:
    task = json.loads(line)
    try:
        result = read(base64.b64decode(task["bytes"]), task.get("asked"))
    except h11.ProtocolError as error:
        result = {"error": str(error)}
    print(json.dumps(result))
