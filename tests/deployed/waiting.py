"""Waits for what happens elsewhere, and no longer than it takes."""

import time


def wait_for(what: str, check, seconds: float = 120):
    """Calls `check` until it returns something true, and returns that; an `OSError` counts as not yet."""
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
