"""Many requests on their way before the first response is read.

    python pipelined_client.py 127.0.0.1 8080 /one /two /three

Without pipelining each request waits for the answer to the one before it, and that is one round trip for each. Here
all of them leave at once, and the responses come back in the order of the requests.
"""

from __future__ import annotations

import sys
from time import perf_counter

from gruvihttp import HttpClient, HttpError, Timeout, TransportError


def fetch_all(host: str, port: int, targets: list[str]) -> list[tuple[int, bytes]]:
    """Status and content for each of `targets`, in their order."""
    with HttpClient(timeout=10) as client:
        client.connect((host, port))
        for target in targets:
            client.request("GET", target)
        answers = []
        for _ in targets:
            response = client.getresponse()
            answers.append((response.status, response.read()))  # to its end: then the next one can be asked for
        return answers


def main(host: str, port: int, targets: list[str]) -> int:
    begin = perf_counter()
    try:
        answers = fetch_all(host, port, targets)
    except (HttpError, Timeout, TransportError) as exc:
        print(f"{exc}; without an answer: {len(exc.unanswered)} of {len(targets)}", file=sys.stderr)
        return 1
    for target, (status, content) in zip(targets, answers, strict=True):
        print(target, status, f"{len(content)} bytes")
    print(f"{len(targets)} requests in {(perf_counter() - begin) * 1000:.1f} ms on one connection", file=sys.stderr)
    return 0


if __name__ == "__main__":
    if len(sys.argv) < 4:
        raise SystemExit(f"usage: {sys.argv[0]} HOST PORT TARGET...")
    raise SystemExit(main(sys.argv[1], int(sys.argv[2]), sys.argv[3:]))
