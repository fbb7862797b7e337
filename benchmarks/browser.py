"""A headless Chromium, driven through its own debugging pipe."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import subprocess
import tempfile
import time
from collections.abc import Iterator
from typing import Any

TIMEOUT_S = 120.0
_ENDED = b"\0"


class Page:
    """One page of a browser."""

    def __init__(self, to_browser: int, from_browser: int) -> None:
        self._to, self._from = to_browser, from_browser
        self._number, self._unread = 0, b""
        self._session: dict[str, str] = {}
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = {"sessionId": session["sessionId"]}

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Of the DevTools protocol; raises RuntimeError for what it refuses."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters, **self._session}
        os.write(self._to, json.dumps(message).encode() + _ENDED)
        deadline = time.monotonic() + TIMEOUT_S
        while True:
            answer = self._message(deadline)
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                result: dict[str, Any] = answer["result"]
                return result

    def evaluate(self, script: str) -> Any:
        """The value of an expression; of a promise, what it comes to."""
        answer = self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        if "exceptionDetails" in answer:
            raise RuntimeError(f"the page's script failed: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def _message(self, deadline: float) -> dict[str, Any]:
        while _ENDED not in self._unread:
            if not select.select([self._from], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise TimeoutError("the browser does not answer")
            some = os.read(self._from, 1 << 16)
            if not some:
                raise RuntimeError("the browser has ended")
            self._unread += some
        message, self._unread = self._unread.split(_ENDED, 1)
        answer: dict[str, Any] = json.loads(message)
        return answer


@contextlib.contextmanager
def browser(*options: str) -> Iterator[Page]:
    """A page of a new browser with an empty profile; gone afterwards."""
    with contextlib.ExitStack() as stack:
        profile = stack.enter_context(
            tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True)
        )
        for_browser, to_browser = os.pipe()
        from_browser, of_browser = os.pipe()
        for ours in (to_browser, from_browser):
            stack.callback(os.close, ours)
        # It reads from 3 and writes to 4: what is there must not be lost before it is moved.
        theirs = [fcntl.fcntl(fd, fcntl.F_DUPFD, 10) for fd in (for_browser, of_browser)]
        os.close(for_browser)
        os.close(of_browser)

        def move() -> None:
            os.dup2(theirs[0], 3)
            os.dup2(theirs[1], 4)

        process = subprocess.Popen(
            [
                *("chromium", "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"),
                *("--remote-debugging-pipe", f"--user-data-dir={profile}", *options),
                "about:blank",
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(3, 4),
            preexec_fn=move,
        )
        for fd in theirs:
            os.close(fd)
        try:
            yield Page(to_browser, from_browser)
        finally:
            process.kill()
            process.wait()
