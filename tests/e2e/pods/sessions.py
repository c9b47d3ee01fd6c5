"""Several pods with sessions, in one process: of Socket.IO, or as SignalR's.

sessions.py KIND COUNTED PRELOAD..., where KIND is socketio or signalr, COUNTED is sessions or
websockets, and each PRELOAD is a pod whose count has so many connections of others. Prints the ports,
in the order of the pods. At /metric each serves its count, at /stats what there is of it.
"""

import asyncio
import json
import secrets
import socket
import sys
from urllib.parse import parse_qs

import socketio
import uvicorn

KIND, COUNTED, *PRELOADS = sys.argv[1:]


class Pod:
    def __init__(self, preload):
        self.preload = preload
        self.websockets = 0
        self.refused = 0
        self.app = self.socket_io() if KIND == "socketio" else self.signalr

    def socket_io(self):
        self.server = socketio.AsyncServer(async_mode="asgi", cors_allowed_origins="*")
        self.server.on("echo", lambda _sid, data: data)
        return socketio.ASGIApp(self.server)

    @property
    def sessions(self):
        return len(self.server.eio.sockets) if KIND == "socketio" else len(self.tokens)

    tokens = None

    async def signalr(self, scope, receive, send):
        """Negotiates a connection, and opens its WebSocket if it knows the connection."""
        if scope["type"] == "http":
            token = secrets.token_urlsafe(16)
            self.tokens.add(token)
            await answer(send, 200, {"connectionId": token, "connectionToken": token})
            return
        await receive()
        asked = parse_qs(scope["query_string"].decode()).get("id", [None])[0]
        if asked is not None and asked not in self.tokens:
            self.refused += 1
            await send({"type": "websocket.close"})
            return
        token = asked or secrets.token_urlsafe(16)
        self.tokens.add(token)
        await send({"type": "websocket.accept"})
        try:
            while (message := await receive())["type"] == "websocket.receive":
                content = {kind: message.get(kind) for kind in ("text", "bytes")}
                await send({"type": "websocket.send", **content})
        finally:
            self.tokens.discard(token)

    async def __call__(self, scope, receive, send):
        if scope.get("path") in ("/metric", "/stats"):
            held = self.sessions if COUNTED == "sessions" else self.websockets
            await answer(send, 200, {
                "agentsConnections": self.preload + held,
                "sessions": self.sessions,
                "websockets": self.websockets,
                "refused": self.refused,
            })
        elif scope["type"] == "websocket":
            await self.websocket(scope, receive, send)
        else:
            await self.app(scope, receive, self.watched(send))

    def watched(self, send):
        async def watch(message):
            # What a pod of Socket.IO says to a session that is another's.
            self.refused += message["type"] == "http.response.start" and message["status"] == 400
            await send(message)

        return watch

    async def websocket(self, scope, receive, send):
        is_open = False

        async def watch(message):
            nonlocal is_open
            if message["type"] == "websocket.accept":
                is_open = True
                self.websockets += 1
            await send(message)

        try:
            await self.app(scope, receive, watch)
        finally:
            self.websockets -= is_open


async def answer(send, status, body):
    body = json.dumps(body).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def main():
    servers = []
    ports = []
    for preload in PRELOADS:
        pod = Pod(int(preload))
        pod.tokens = set()
        listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        ports.append(listener.getsockname()[1])
        config = uvicorn.Config(pod, ws="wsproto", lifespan="off", log_level="error")
        servers.append(uvicorn.Server(config).serve(sockets=[listener]))
    print(*ports, flush=True)
    await asyncio.gather(*servers)


asyncio.run(main())
