"""Clients with sessions: of Socket.IO, as its own library has them, or as SignalR's.

session_clients.py KIND TRANSPORT URL CLIENTS RECONNECTS, where KIND is socketio or signalr, and
TRANSPORT is default or websocket. Each client opens a session, loses its WebSocket so many times and
opens another session, with the cookies of the one before. All of it goes to the URL's port of this
machine, whatever name the URL has. Then one line of JSON says how many are open and what went wrong,
and the sessions stay.
"""

import json
import socket
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import requests
import socketio
import websocket

KIND, TRANSPORT, URL, CLIENTS, RECONNECTS = sys.argv[1:]
PATIENCE = 60

resolve = socket.getaddrinfo
socket.getaddrinfo = lambda _host, *rest, **named: resolve("127.0.0.1", *rest, **named)


class Http(requests.Session):
    """Envoy puts the cookie's value into quotes. The library puts it into quotes once more for its
    WebSocket, which Envoy does not understand: so it gets the value without them."""

    def __init__(self):
        super().__init__()
        self.trust_env = False

    def send(self, request, **options):
        response = super().send(request, **options)
        for cookie in self.cookies:
            cookie.value = cookie.value.strip('"')
        return response


def open_socketio(number):
    client = socketio.Client(
        http_session=Http(), reconnection_delay=0.05, reconnection_delay_max=0.1
    )
    failures = []
    client.on("connect_error", lambda data=None: failures.append(str(data)))
    opened = threading.Event()
    client.on("connect", opened.set)
    transports = ["websocket"] if TRANSPORT == "websocket" else None
    client.connect(URL, transports=transports, wait_timeout=PATIENCE)
    seen = set()
    for round in range(int(RECONNECTS) + 1):
        if not opened.wait(PATIENCE):
            raise TimeoutError("it does not connect")
        if client.transport() != "websocket":
            raise RuntimeError(f"it stays at {client.transport()}")
        if client.call("echo", number, timeout=PATIENCE) != number:
            raise RuntimeError("another's echo")
        seen.add(client.get_sid())
        if round < int(RECONNECTS):
            opened.clear()
            # The connection is lost: the library itself opens the next session.
            client.eio.ws.sock.shutdown(2)
    if failures or len(seen) != int(RECONNECTS) + 1:
        raise RuntimeError(f"{failures} {seen}")
    return client


def open_signalr(number):
    http = Http()
    for round in range(int(RECONNECTS) + 1):
        query = ""
        if TRANSPORT == "default":
            negotiated = http.post(f"{URL}/hub/negotiate?negotiateVersion=1", timeout=PATIENCE)
            negotiated.raise_for_status()
            query = "?id=" + negotiated.json()["connectionToken"]
        cookie = "; ".join(f"{cookie.name}={cookie.value}" for cookie in http.cookies)
        url = URL.replace("http", "ws", 1) + "/hub" + query
        connection = websocket.create_connection(
            url, timeout=PATIENCE, cookie=cookie or None, http_no_proxy=["*"]
        )
        connection.send(str(number))
        if connection.recv() != str(number):
            raise RuntimeError("another's echo")
        if round < int(RECONNECTS):
            connection.close()
    return connection


OPEN = open_socketio if KIND == "socketio" else open_signalr
HELD = []
FAILED = []


def run(number):
    try:
        HELD.append(OPEN(number))
    except Exception as error:
        FAILED.append(repr(error))


with ThreadPoolExecutor(20) as pool:
    list(pool.map(run, range(int(CLIENTS))))
print(json.dumps({"open": len(HELD), "failed": FAILED}), flush=True)
while True:
    time.sleep(3600)
