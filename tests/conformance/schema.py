#!/usr/bin/env python3
"""Runs schemathesis against a Weir and its /openapi.json: no 5xx, and no answer outside of what it describes.

Usage: schema.py SERVER-BINARY [OPTIONS OF `schemathesis run`]

Twice: as an administrator who may do everything, and without a token. The seed is fixed; what is generated is bounded
by number, and by time.
"""

import os
import pathlib
import subprocess
import sys
import tempfile

from weir import HERE, RATE, Weir, token

SCHEMATHESIS = pathlib.Path(sys.executable).with_name("schemathesis")
# 429 is among the described answers, but says nothing of what lies behind it.
ROOMS = {"WEIR_LIMITS_MAX_SESSIONS": "100000"}
CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,"
    "response_headers_conformance,response_schema_conformance,ignored_auth,allow_header_conformance"
)
OPTIONS = ["--seed", "9725", "--max-examples", "40", "--max-time", "35", "--workers", "1", "--continue-on-failure"]
OPTIONS += ["--checks", CHECKS, "--request-timeout", "5", "--max-redirects", "0", "--no-color", "--warnings", "off"]


def main():
    binary = str(pathlib.Path(sys.argv[1]).resolve())
    with tempfile.TemporaryDirectory() as folder:
        server = Weir(binary, pathlib.Path(folder), "schema", {**RATE, **ROOMS})
        try:
            server.wait()
            admin = token(binary, "*", "--publish", "--subscribe", "--admin")
            runs = [["--header", f"Authorization: Bearer {admin}"], []]
            codes = [run(server, folder, [*who, *sys.argv[2:]]) for who in runs]
        finally:
            server.stop()
    return max(codes)


def run(server, folder, options):
    command = [str(SCHEMATHESIS), "run", f"{server.url}/openapi.json", *OPTIONS, *options]
    # In a folder of its own: it keeps what it has found in the current one.
    env = {**os.environ, "SCHEMATHESIS_HOOKS": "schema_bodies", "PYTHONPATH": str(HERE), "PYTHONDONTWRITEBYTECODE": "1"}
    code = subprocess.run(command, cwd=folder, env=env).returncode
    if server.process.poll() is not None:
        print(f"the server has ended with {server.process.returncode}:\n{server.log.read_text()}")
        return 1
    return code


if __name__ == "__main__":
    sys.exit(main())
