"""Slack and PagerDuty on loopback: they keep what they are sent, and answer as they are told."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from waiting import wait_for


class Receiver:
    """An HTTP server that keeps the JSON bodies it is sent, with their paths and headers."""

    def __init__(self, status: int, answer: dict):
        self.bodies: list[dict] = []
        # What is answered once each, instead of the usual answer: to which body, a status, and headers.
        self.answers_once: list[tuple] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                body |= {"path": self.path, "headers": dict(self.headers)}
                once = next((answer for answer in receiver.answers_once if answer[0](body)), None)
                if once:
                    receiver.answers_once.remove(once)
                    _, answered, headers = once
                else:
                    answered, headers = status, {}
                    receiver.bodies.append(body)
                self.send_response(answered)
                for name, value in {"content-type": "application/json", **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(json.dumps(answer).encode())

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def answer_once(self, matches, status: int, headers: dict[str, str] | None = None):
        """Answers the first body that matches so, whatever else arrives before it, and does not keep it."""
        self.answers_once.append((matches, status, headers or {}))

    def received(self, matches, seconds: float = 120) -> dict:
        """The one body that matches, once it is there."""
        found = wait_for("a notification", lambda: [body for body in list(self.bodies) if matches(body)], seconds)
        assert len(found) == 1, found
        return found[0]

    def stop(self):
        self.server.shutdown()


def slack() -> Receiver:
    return Receiver(200, {"ok": True, "channel": "C0ALERTS", "ts": "1700000000.000100"})


def pagerduty() -> Receiver:
    return Receiver(202, {"status": "success"})
