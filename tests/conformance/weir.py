#!/usr/bin/env python3
"""Runs the suite against Weir: four servers, so that tokens, limits, a full house and a redirect are all there.

Usage: weir.py SERVER-BINARY [OPTIONS OF conformance.py]
"""

import os
import pathlib
import secrets
import socket
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
SECRET = secrets.token_urlsafe(32)
RATE = {"WEIR_LIMITS_REQUESTS_PER_SECOND": "100000", "WEIR_LIMITS_REQUEST_BURST": "100000"}
SLOW = {"WEIR_LIMITS_REQUESTS_PER_SECOND": "1", "WEIR_LIMITS_REQUEST_BURST": "20"}


class Weir:
    """One server."""

    def __init__(self, binary, folder, name, settings):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        config = folder / f"{name}.toml"
        config.write_text(settings.pop("toml", ""))
        env = {**os.environ, "WEIR_KEYS": f"main:{SECRET}", "WEIR_CONFIG": str(config), **settings}
        command = [binary, "--http", f"127.0.0.1:{self.port}", "--media", "127.0.0.1:0"]
        log = open(folder / f"{name}.log", "w")
        self.process = subprocess.Popen(command, env=env, cwd=folder, stdout=log, stderr=subprocess.STDOUT)
        self.log = folder / f"{name}.log"

    def wait(self):
        for _ in range(200):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            if self.process.poll() is not None:
                break
            time.sleep(0.05)
        raise SystemExit(f"the server did not start:\n{self.log.read_text()}")

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def token(binary, room, *grants):
    env = {**os.environ, "WEIR_KEYS": f"main:{SECRET}", "WEIR_CONFIG": os.devnull}
    command = [binary, "token", "--room", room, "--identity", "suite", *grants]
    return subprocess.run(command, env=env, check=True, capture_output=True, text=True).stdout.strip()


ICE = """
[[ice_servers]]
url = "stun:127.0.0.1:3478"

[[ice_servers]]
url = "turn:127.0.0.1:3478?transport=udp"
username = "a \\"quoted\\" name"
credential = "not a secret, only a test"
"""


def main():
    binary = str(pathlib.Path(sys.argv[1]).resolve())
    extra = sys.argv[2:]
    servers = []
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        try:
            one = {**RATE, "WEIR_LIMITS_MAX_SESSIONS": "1"}
            whole = Weir(binary, folder, "whole", {"toml": ICE, **RATE})
            limited = Weir(binary, folder, "limited", dict(SLOW))
            full = Weir(binary, folder, "full", dict(one))
            overflowing = Weir(binary, folder, "overflowing", {**one, "WEIR_LIMITS_OVERFLOW": whole.url})
            servers = [whole, limited, full, overflowing]
            for server in servers:
                server.wait()
            return run(binary, extra, *servers)
        finally:
            for server in servers:
                server.stop()


def run(binary, extra, whole, limited, full, overflowing):
    command = [sys.executable, "-B", str(HERE / "conformance.py")]
    command += ["--whip", f"{whole.url}/whip/conformance", "--whep", f"{whole.url}/whep/conformance"]
    grants = ("--publish", "--subscribe")
    command += ["--token", token(binary, "conformance", *grants)]
    command += ["--ungranted-token", token(binary, "elsewhere", *grants)]
    command += ["--limited", f"{limited.url}/whip/conformance", "--full", f"{full.url}/whip/conformance"]
    command += ["--redirecting", f"{overflowing.url}/whip/conformance"]
    # Measured: 5 ms in a debug build while five other builds share the machine's two cores.
    command += ["--max-p99-ms", "50", "--offers", str(HERE.parent / "data" / "sdp"), *extra]
    return subprocess.run(command).returncode


if __name__ == "__main__":
    sys.exit(main())
