#!/usr/bin/env python3
"""Runs the load tester against a WHIP and WHEP server of another stack.

usage: foreign_server.py WEIR_LOADTEST
"""

import pathlib
import socket
import subprocess
import sys
import time

SERVER = pathlib.Path(__file__).with_name("aiortc_server.py")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(port, server):
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and server.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    sys.exit("the server did not start")


def main():
    port = free_port()
    server = subprocess.Popen([sys.executable, SERVER, str(port)])
    try:
        wait_for(port, server)
        base = f"http://127.0.0.1:{port}/{{n}}"
        requirements = ["joined>2", "join_failures<1", "without_media<1", "faults<1", "p50_frame_rate>1"]
        command = [sys.argv[1], "--whip", f"{base}/whip", "--whep", f"{base}/whep", "--rooms", "1", "--viewers", "2"]
        command += ["--media", "clips", "--codec", "vp8", "--duration", "10s"]
        command += [flag for figure in requirements for flag in ("--require", figure)]
        sys.exit(subprocess.run(command, timeout=90, check=False).returncode)
    finally:
        server.kill()


main()
