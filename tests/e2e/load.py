"""Sends requests until told to stop, and counts wrong and lost responses.

Runs in a Pod of the cluster under test (see tests/e2e/run), with Python's standard
library alone. Reads the cases from $CASES, a JSON list of {"name", "headers",
"status", "contains"}, and sends them by turns to $URL: from threads that reuse a
connection as long as the server keeps it open, and from one that opens a new one
for each request. A request is never repeated.

Ends when the file /tmp/stop exists, with one line of JSON on stdout.
"""

import http.client
import itertools
import json
import os
import threading
import time
from urllib.parse import urlsplit

URL = urlsplit(os.environ["URL"])
CASES = json.loads(os.environ["CASES"])
STOP = "/tmp/stop"
# Seconds. Longer than any response takes, even on a busy machine.
TIMEOUT = 10
# Seconds between two requests of a thread, so that the load leaves CPU to the
# cluster.
PAUSE = 0.02
KEPT_ALIVE = 4

lock = threading.Lock()
total = {"requests": 0, "connections": 0, "wrong": [], "lost": []}


def connect():
    with lock:
        total["connections"] += 1
    return http.client.HTTPConnection(URL.hostname, URL.port, timeout=TIMEOUT)


def ask(connection, case):
    """Sends one request. Whether the connection can be used again."""
    sent = time.monotonic()
    try:
        connection.request("POST", URL.path, headers=case["headers"])
        response = connection.getresponse()
        body = response.read().decode()
    except (OSError, http.client.HTTPException) as error:
        after = round(time.monotonic() - sent, 3)
        note("lost", f"{time.strftime('%T')} {case['name']}: {error!r} after {after} s")
        connection.close()
        return False
    if response.status != case["status"] or case["contains"] not in body:
        note("wrong", f"{time.strftime('%T')} {case['name']}: {response.status} {body[:200]}")
    return not response.will_close


def note(kind, text):
    with lock:
        total[kind].append(text)


def run(keep_alive):
    connection = connect()
    for case in itertools.cycle(CASES):
        if os.path.exists(STOP):
            return
        if not ask(connection, case) or not keep_alive:
            connection.close()
            connection = connect()
        with lock:
            total["requests"] += 1
        time.sleep(PAUSE)


threads = [threading.Thread(target=run, args=[keep_alive]) for keep_alive in [True] * KEPT_ALIVE + [False]]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
for kind in ("wrong", "lost"):
    total[kind] = {"count": len(total[kind]), "first": total[kind][:5]}
print(json.dumps(total))
