"""browser.py - a headless Chromium, driven through its debugging pipe: no port, no package beside Python's own.

    with Browser() as browser:
        browser.size(390, 844)
        browser.open("file:///.../index.html")
        browser.run("document.title")

`messages` has what the console said since the last open, `requests` the addresses that were asked for.
"""

import json
import os
import select
import shutil
import subprocess
import tempfile
import time


class Browser:
    def __init__(self, limit=60):
        self.limit, self.number, self.buffer = limit, 0, b""
        self.messages, self.requests, self.loaded = [], [], False

    def __enter__(self):
        self.folder = tempfile.mkdtemp()
        there, self.to = os.pipe()
        self.back, here = os.pipe()

        def streams():  # the browser reads descriptor 3 and writes 4
            low, high = os.dup(there), os.dup(here)
            os.dup2(low, 3)
            os.dup2(high, 4)

        self.process = subprocess.Popen(
            ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe", "--hide-scrollbars",
             "--disable-dev-shm-usage", "--user-data-dir=" + self.folder, "about:blank"],
            preexec_fn=streams, close_fds=False, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(there)
        os.close(here)
        target = self.call("Target.createTarget", url="about:blank", whole=True)["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True, whole=True)["sessionId"]
        for part in ("Page", "Runtime", "Network", "Log"):
            self.call(part + ".enable")
        return self

    def __exit__(self, *_):
        try:
            self.call("Browser.close", whole=True)
            self.process.wait(20)
        except (RuntimeError, OSError, subprocess.TimeoutExpired):
            self.process.kill()
            self.process.wait()
        os.close(self.to)
        os.close(self.back)
        shutil.rmtree(self.folder, ignore_errors=True)

    def receive(self, until):
        while b"\0" not in self.buffer:
            ready = select.select([self.back], [], [], max(0, until - time.time()))[0]
            data = os.read(self.back, 1 << 20) if ready else b""
            if not data:
                raise RuntimeError("the browser has ended" if ready else f"the browser is silent for {self.limit} s")
            self.buffer += data
        text, self.buffer = self.buffer.split(b"\0", 1)
        return json.loads(text)

    def note(self, event):
        method, params = event.get("method"), event.get("params", {})
        if method == "Runtime.consoleAPICalled":
            self.messages.append(" ".join(str(a.get("value", a.get("description"))) for a in params["args"]))
        elif method == "Runtime.exceptionThrown":
            details = params["exceptionDetails"]
            self.messages.append(details.get("exception", {}).get("description", details["text"]))
        elif method == "Log.entryAdded":
            self.messages.append(params["entry"]["text"])
        elif method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif method == "Page.loadEventFired":
            self.loaded = True

    def call(self, method, whole=False, **params):
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        if not whole:
            message["sessionId"] = self.session
        os.write(self.to, json.dumps(message).encode() + b"\0")
        until = time.time() + self.limit
        while True:
            answer = self.receive(until)
            if answer.get("id") == message["id"]:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]
            self.note(answer)

    def size(self, width, height):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600)

    def open(self, url):
        self.messages, self.requests, self.loaded = [], [], False
        # Another page first: an address that differs in its # alone would not be loaded again.
        self.call("Page.navigate", url="about:blank")
        while not self.loaded:
            self.note(self.receive(time.time() + self.limit))
        self.messages, self.requests, self.loaded = [], [], False
        self.call("Page.navigate", url=url)
        while not self.loaded:
            self.note(self.receive(time.time() + self.limit))

    def run(self, text):
        """The value of a JavaScript expression; a promise is waited for."""
        answer = self.call("Runtime.evaluate", expression=text, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(answer["exceptionDetails"].get("exception", {}).get("description", "an exception"))
        return answer["result"].get("value")

    def picture(self, path):
        import base64
        data = self.call("Page.captureScreenshot", format="png")["data"]
        with open(path, "wb") as f:
            f.write(base64.b64decode(data))
