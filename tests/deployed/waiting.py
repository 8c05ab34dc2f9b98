"""Waits for what happens elsewhere, and no longer than it takes."""

import time


def wait_for(what: str, check, seconds: float = 120):
    """Asks `check` until it answers something true; what it could not ask yet counts as no."""
    end = time.monotonic() + seconds
    while True:
        try:
            if value := check():
                return value
        except OSError:
            pass
        if time.monotonic() > end:
            raise AssertionError(f"waited {seconds} s for {what}")
        time.sleep(0.1)
