"""A second editor of a shared document, as a tab is one; runs with the Python of the notebook's environment.

`peer.py SOCKET URL KIND`: takes orders as lines of JSON on standard input, answers with lines of JSON. SOCKET: a Unix
socket, or "" for where the URL leads to.
"""

import json
import os
import select
import socket
import sys
import time

import websocket
from jupyter_ydoc import ydocs
from pycrdt import Doc, Map, Text, YMessageType, create_sync_message, create_update_message, handle_sync_message


class Peer:
    def __init__(self, path, url, kind):
        connection = None
        if path:
            connection = socket.socket(socket.AF_UNIX)
            connection.connect(path)
        self.socket = websocket.create_connection(url, socket=connection)
        self.doc = Doc()
        self.document = ydocs[kind](self.doc)
        self.remote = False
        self.typing = []  # (cell, characters typed so far, characters to come, seconds between two)
        self.next = 0.0
        self.doc.observe(self.changed)
        self.synchronise()

    def synchronise(self):
        """Ask for all that is there; what we sent before has been taken in when the answer comes."""
        self.socket.send_binary(create_sync_message(self.doc))

    def changed(self, event):
        if not self.remote:
            self.socket.send_binary(create_update_message(event.update))

    def receive(self):
        message = self.socket.recv()
        if not message or message[0] != YMessageType.SYNC:
            return
        self.remote = True
        reply = handle_sync_message(message[1:], self.doc)
        self.remote = False
        if reply is not None:
            self.socket.send_binary(reply)
        if message[1] == 1:  # the answer to our question
            answer({"synchronised": True})

    def shared_text(self, cell):
        if cell is None:
            return self.doc.get("source", type=Text)
        return self.cell(cell)["source"]

    def cell(self, name):
        return next(cell for cell in self.document.ycells if cell["id"] == name)

    def type_one(self):
        cell, done, rest, pause = self.typing
        text = self.shared_text(cell)
        place = str(text).find(done)
        if place < 0:
            answer({"lost": done, "in": str(text)})
            sys.exit(1)
        text.insert(len(str(text)[: place + len(done)].encode()), rest[0])
        self.typing = [cell, done + rest[0], rest[1:], pause]
        self.next = time.monotonic() + pause
        if len(rest) == 1:
            self.typing = []
            answer({"typed": done + rest[0]})

    def order(self, order):
        name = order["do"]
        if name == "type":  # behind the text `after`, which must stay
            self.typing = [order.get("cell"), order["after"], order["text"], order["pause"]]
        elif name == "run":
            self.cell(order["cell"])["execution_state"] = "running"
        elif name == "print":
            outputs = self.cell(order["cell"])["outputs"]
            if len(outputs):
                text = outputs[len(outputs) - 1]["text"]
                text += order["text"]
            else:
                outputs.append(Map({"output_type": "stream", "name": "stdout", "text": Text(order["text"])}))
        elif name == "synchronise":
            self.synchronise()
        elif name == "read":
            answer({"content": self.document.get()})

    def serve(self):
        orders = b""
        while True:
            wait = max(0.0, self.next - time.monotonic()) if self.typing else 30
            ready, _, _ = select.select([self.socket.sock, sys.stdin], [], [], wait)
            if self.socket.sock in ready:
                self.receive()
            if sys.stdin in ready:
                received = os.read(0, 65536)
                if not received:
                    return
                *lines, orders = (orders + received).split(b"\n")
                for line in lines:
                    self.order(json.loads(line))
            if self.typing and time.monotonic() >= self.next:
                self.type_one()


def answer(value):
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    try:
        Peer(*sys.argv[1:]).serve()
    except websocket.WebSocketConnectionClosedException:
        sys.exit("the host has ended")
