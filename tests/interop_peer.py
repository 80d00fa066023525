"""A peer of the Python project majortomo, for interop_test.ts.

The folder with the package is in MAJORTOMO_PYTHON. What it is comes first in the arguments:

  broker [ENDPOINT]                 prints its endpoint
  worker ENDPOINT SERVICE SECONDS   prints "ready"; to each request works for so long, sends a
                                    PARTIAL "part" and the frames of the request backwards
  client ENDPOINT SERVICE BODIES    sends each of the bodies (JSON: lists of latin-1 text) in its
                                    turn and prints the parts of each reply as a line of JSON
"""

import json
import logging
import os
import sys
import time
import types

sys.path.insert(0, os.environ["MAJORTOMO_PYTHON"])

# majortomo.broker reads a configuration with figcan, which is not packaged everywhere, and which
# a broker that is not started from its command line does not use.
try:
    import figcan  # noqa: F401
except ImportError:
    sys.modules["figcan"] = types.ModuleType("figcan")
    sys.modules["figcan"].Extensible = dict

import zmq  # noqa: E402
from majortomo import Client, Worker, WorkerRequestsIterator  # noqa: E402


def say(line):
    print(line, flush=True)


def broker(endpoint="tcp://127.0.0.1:*"):
    from majortomo.broker import Broker

    class Told(Broker):
        def bind(self):
            super().bind()
            say(self._socket.getsockopt(zmq.LAST_ENDPOINT).rstrip(b"\0").decode())

    Told(bind=endpoint, heartbeat_interval=0.05, heartbeat_timeout=0.5).run()


def worker(endpoint, service, seconds):
    peer = Worker(endpoint, service, heartbeat_interval=0.05, heartbeat_timeout=60.0)
    requests = WorkerRequestsIterator(peer)
    peer.connect()
    say("ready")
    for frames in requests:
        time.sleep(float(seconds))
        requests.send_reply_partial([b"part"])
        requests.send_reply_final(frames[::-1])
    say("disconnected")


def client(endpoint, service, bodies):
    with Client(endpoint) as peer:
        for body in json.loads(bodies):
            peer.send(service, *[frame.encode("latin-1") for frame in body])
            parts = [list(part) for part in peer.recv_all(timeout=20)]
            say(json.dumps([[frame.decode("latin-1") for frame in part] for part in parts]))


if __name__ == "__main__":
    logging.basicConfig(level=logging.ERROR)
    {"broker": broker, "worker": worker, "client": client}[sys.argv[1]](*sys.argv[2:])
