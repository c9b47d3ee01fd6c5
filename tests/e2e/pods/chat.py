"""A pod as services in Python are: uvicorn, an echo, and prometheus_client's exporter at /metrics.

It prints its port once it listens.
"""

import asyncio
import socket

import prometheus_client
import uvicorn

# With a label there is no series before the first WebSocket.
OPEN = prometheus_client.Gauge("websocket_connections", "Open WebSockets", ["state"])
EXPORTER = prometheus_client.make_asgi_app()


async def app(scope, receive, send):
    if scope["type"] == "websocket":
        await echo(receive, send)
    else:
        await EXPORTER(scope, receive, send)


async def echo(receive, send):
    await receive()
    await send({"type": "websocket.accept"})
    OPEN.labels("open").inc()
    try:
        while (message := await receive())["type"] == "websocket.receive":
            content = {kind: message.get(kind) for kind in ("text", "bytes")}
            await send({"type": "websocket.send", **content})
    finally:
        OPEN.labels("open").dec()


listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
config = uvicorn.Config(app, ws="wsproto", lifespan="off", log_level="warning")
asyncio.run(uvicorn.Server(config).serve(sockets=[listener]))
