"""A network that loses packets, delivers some twice and some behind later ones, with a server at its far end.

As a program, it makes two TUN devices: one here, one in a network namespace of its own, in which the server is; and
carries packets between them. What the server sends is carried as a seed's dice fall. It prints the server's address,
and at the end of its standard input what it delivered, as JSON: a list of [before_ns, after_ns, sequence, length] for
each TCP segment, by CLOCK_REALTIME before and after it was handed to the kernel, and the sequence number of the first
byte. Linux only; needs CAP_NET_ADMIN and CAP_SYS_ADMIN.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import random
import select
import socket
import struct
import sys
import threading
import time
from collections.abc import Iterator

TOKENS = 300
_GAP_S = 0.004
_PORT = 8000
_NEW_NETWORK = 0x40000000  # CLONE_NEWNET of linux/sched.h
_SET_INTERFACE = 0x400454CA  # TUNSETIFF of linux/if_tun.h
_TUN_WITHOUT_HEADER = 0x1001
_SET_ADDRESS, _SET_NETMASK, _SET_FLAGS = 0x8916, 0x891C, 0x8914  # linux/sockios.h
_UP = 0x41
_SYN = 0x02
#: Of packets of the server: so many are lost, delivered twice, held back behind so many others.
_LOST, _TWICE, _HELD_BACK, _MOST_BEHIND = 0.03, 0.02, 0.04, 4


def tun(name: str) -> tuple[int, str]:
    """A device in this thread's network namespace: its descriptor, and its name (`%d` becomes a number)."""
    device = os.open("/dev/net/tun", os.O_RDWR)
    request = struct.pack("16sH22x", name.encode(), _TUN_WITHOUT_HEADER)
    made: bytes = fcntl.ioctl(device, _SET_INTERFACE, request)
    return device, made[:16].rstrip(b"\0").decode()


def set_up(name: str, address: str) -> None:
    """Give the device an address in a network of 256, and switch it on."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for request, value in ((_SET_ADDRESS, address), (_SET_NETMASK, "255.255.255.0")):
            inet = struct.pack("=HH4s8x", socket.AF_INET, 0, socket.inet_aton(value))
            fcntl.ioctl(sock, request, struct.pack("16s16s", name.encode(), inet))
        fcntl.ioctl(sock, _SET_FLAGS, struct.pack("16sH14x", name.encode(), _UP))


def serve(listener: socket.socket) -> None:
    """A stream of tokens for each connection, each in a chunk of its own."""
    while True:
        connection, _ = listener.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while connection.recv(65536):
            for part in parts():
                connection.send(part)
                time.sleep(_GAP_S)


def parts() -> Iterator[bytes]:
    """The response, as it is sent."""
    yield b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    for number in range(TOKENS):
        delta = json.dumps({"choices": [{"index": 0, "delta": {"content": f" {number}"}, "finish_reason": None}]})
        yield _chunk(f"data: {delta}\n\n")
    end = json.dumps({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    yield _chunk(f"data: {end}\n\ndata: [DONE]\n\n") + b"0\r\n\r\n"


def _chunk(text: str) -> bytes:
    return f"{len(text):x}\r\n{text}\r\n".encode()


class Network:
    """delivered: what reached the client's side, and when (see the module)."""

    def __init__(self, here: int, there: int, dice: random.Random) -> None:
        self._here, self._there, self._dice = here, there, dice
        self._held: list[tuple[int, bytes]] = []  # how many packets are to pass first
        self.delivered: list[tuple[int, int, int, int]] = []
        self.first_sequence = 0

    def carry(self) -> None:
        """Until standard input ends."""
        while True:
            ready, _, _ = select.select([self._here, self._there, 0], [], [], 0.02)
            if 0 in ready and not os.read(0, 1):
                return
            if self._here in ready:
                os.write(self._there, os.read(self._here, 65536))
            if self._there in ready:
                self._roll(os.read(self._there, 65536))
            elif not ready:
                self._pass_held(everything=True)

    def _roll(self, packet: bytes) -> None:
        cast = self._dice.random()
        if cast < _LOST:
            return
        if cast < _LOST + _HELD_BACK:
            self._held.append((self._dice.randint(1, _MOST_BEHIND), packet))
            return
        self._deliver(packet)
        if cast > 1 - _TWICE:
            self._deliver(packet)
        self._held = [(left - 1, held) for left, held in self._held]
        self._pass_held()

    def _pass_held(self, everything: bool = False) -> None:
        due = [packet for left, packet in self._held if left <= 0 or everything]
        self._held = [(left, packet) for left, packet in self._held if left > 0 and not everything]
        for packet in due:
            self._deliver(packet)

    def _deliver(self, packet: bytes) -> None:
        before_ns = time.time_ns()
        os.write(self._here, packet)
        after_ns = time.time_ns()
        if packet[0] != 0x45 or packet[9] != socket.IPPROTO_TCP:
            return
        (sequence,) = struct.unpack_from("!I", packet, 24)
        if packet[33] & _SYN:
            self.first_sequence = (sequence + 1) % (1 << 32)
        elif length := len(packet) - 20 - (packet[32] >> 4) * 4:
            self.delivered.append((before_ns, after_ns, sequence, length))


def main() -> None:
    """The program."""
    here, name = tun("lossy%d")
    network = f"10.213.{int(name.removeprefix('lossy')) % 256}"
    set_up(name, f"{network}.1")
    if ctypes.CDLL(None, use_errno=True).unshare(_NEW_NETWORK):
        raise OSError(ctypes.get_errno(), "no network namespace of its own")
    there, far_name = tun("far")
    set_up(far_name, f"{network}.2")
    listener = socket.create_server((f"{network}.2", _PORT))
    threading.Thread(target=serve, args=(listener,), daemon=True).start()
    print(f"http://{network}.2:{_PORT}", flush=True)
    carrier = Network(here, there, random.Random(int(sys.argv[1])))
    carrier.carry()
    print(json.dumps({"first_sequence": carrier.first_sequence, "delivered": carrier.delivered}), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
