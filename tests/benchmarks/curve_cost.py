"""What CURVE costs in CPU: octets through a pair of sockets with and without it.

`python -m tests.benchmarks.curve_cost`: CPU time of both ends in this process, which other work on
the machine hardly changes; medians of five.
"""

from __future__ import annotations

import statistics
import threading
import time

import zmq

SIZES = {100: 100_000, 1_000: 100_000, 10_000: 40_000, 100_000: 4_000}


def cpu_s(size: int, count: int, *, curve: bool) -> float:
    """CPU seconds of so many messages from one context to another."""
    with zmq.Context() as sending, zmq.Context() as receiving:
        push, pull = sending.socket(zmq.PUSH), receiving.socket(zmq.PULL)
        if curve:
            public, secret = zmq.curve_keypair()
            pull.curve_server, pull.curve_secretkey = True, secret
            push.curve_publickey, push.curve_secretkey = zmq.curve_keypair()
            push.curve_serverkey = public
        port = pull.bind_to_random_port("tcp://127.0.0.1")
        push.connect(f"tcp://127.0.0.1:{port}")
        body = bytes(size)
        push.send(body)
        pull.recv()

        def send() -> None:
            for _ in range(count):
                push.send(body, copy=False)

        before = time.process_time()
        thread = threading.Thread(target=send)
        thread.start()
        for _ in range(count):
            pull.recv(copy=False)
        thread.join()
        spent = time.process_time() - before
        push.close()
        pull.close()
        return spent


def main() -> None:
    for size, count in SIZES.items():
        pairs = [
            (cpu_s(size, count, curve=False), cpu_s(size, count, curve=True)) for _ in range(5)
        ]
        plain, curve = (statistics.median(column) for column in zip(*pairs, strict=True))
        octets_s = size * count / curve
        print(
            f"{size:>7,} octets: {plain / count * 1e6:8.1f} us plain, "
            f"{curve / count * 1e6:8.1f} us CURVE a message, {curve / plain:.2f} times; "
            f"{octets_s / 1e6:,.0f} MB a CPU second"
        )


if __name__ == "__main__":
    main()
