"""Plays the scenario of test/interop/scenario.ts with the client of `websockets`."""

import asyncio
import json
import sys

import websockets


async def play(url, texts, binary):
    async with websockets.connect(url, subprotocols=["one", "two"], max_size=None) as socket:
        echoed = []
        for text in texts:
            await socket.send(text)
            echoed.append(await socket.recv())
        await socket.send(bytes(binary))
        bytes_back = await socket.recv()
        await asyncio.wait_for(await socket.ping(b"are you there"), 10)
        await socket.close(4321, "enough")
        return {
            "protocol": socket.subprotocol,
            "texts": echoed,
            "binary": list(bytes_back),
            "code": socket.close_code,
            "reason": socket.close_reason,
        }


url, scenario = sys.argv[1], json.loads(sys.argv[2])
print(json.dumps(asyncio.run(play(url, **scenario))))
