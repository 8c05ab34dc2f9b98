"""Slack and PagerDuty on loopback: they keep what they receive, and respond as planned."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from waiting import wait_for


class Receiver:
    """An HTTP server that keeps the JSON bodies it receives, with their paths and headers."""

    def __init__(self, status: int, response: dict):
        self.bodies: list[dict] = []
        # Responses that are sent once each, instead of the usual one: to which body, with which status and headers.
        self.responses_once: list[tuple] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                body |= {"path": self.path, "headers": dict(self.headers)}
                once = next((planned for planned in receiver.responses_once if planned[0](body)), None)
                if once:
                    receiver.responses_once.remove(once)
                    _, actual, headers = once
                else:
                    actual, headers = status, {}
                    receiver.bodies.append(body)
                self.send_response(actual)
                for name, value in {"content-type": "application/json", **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(json.dumps(response).encode())

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def respond_once(self, matches, status: int, headers: dict[str, str] | None = None):
        """Responds so to the first body that matches, whatever else arrives before it, and does not keep that body."""
        self.responses_once.append((matches, status, headers or {}))

    def received(self, matches, seconds: float = 120) -> dict:
        """Waits for the one body that matches."""
        found = wait_for("a notification", lambda: [body for body in list(self.bodies) if matches(body)], seconds)
        assert len(found) == 1, found
        return found[0]

    def stop(self):
        self.server.shutdown()


def slack() -> Receiver:
    return Receiver(200, {"ok": True, "channel": "C0ALERTS", "ts": "1700000000.000100"})


def pagerduty() -> Receiver:
    return Receiver(202, {"status": "success"})
