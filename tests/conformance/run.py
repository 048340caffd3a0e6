#!/usr/bin/env python3
"""The Autobahn testsuite against both ends of ours.

    run.py         all 517 cases, both ways: minutes
    run.py quick   groups 1 to 7 and 10: less than a minute; where the suite
                   cannot be had, one line says so, and that is no failure

Its fuzzing client talks to `conformance-peer serve`; then `conformance-peer
connect` talks to its fuzzing server. That one binds every address, so all of
it runs in a network of its own, in which 127.0.0.1 is another one's than this
machine's, and as processes that end when this one does.

The suite is Python 2.7's: PYTHON2 names one, else pyenv's or the one in PATH
is taken. It is installed below tests/ once. Exit status: 0 when no case
failed, 1 when some did or were not run, 2 when it could not begin.
"""

import ast
import glob
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target").resolve()
SUITE = HERE.parent / ".venv-autobahn"
REPORTS = TARGET / "conformance"

AGENT = "boardcast"
PORT = 9001
URL = f"ws://127.0.0.1:{PORT}"
QUICK = [f"{group}.*" for group in (1, 2, 3, 4, 5, 6, 7, 10)]
# With compression 12.* and 13.* alone take a quarter of an hour.
LIMITS = {"quick": 180, "all": 2700}

KINDS = {
    "OK": "ok",
    "NON-STRICT": "non-strict",
    "INFORMATIONAL": "informational",
    "UNIMPLEMENTED": "unimplemented",
}


class Unable(Exception):
    """The suite cannot run here; says why."""


def main(arguments):
    if arguments[:1] == ["--inside"]:
        return run_both_ways(arguments[1])
    scope = "".join(arguments) or "all"
    if scope not in LIMITS:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        apart = own_network()
        install_suite()
    except Unable as why:
        print(f"conformance: not run: {why}")
        return 0 if scope == "quick" else 2
    # `make test` has built the debug one already, and for these cases it will do.
    profile = ["--release"] if scope == "all" else []
    cargo = [os.environ.get("CARGO", "cargo"), "build", "--quiet", *profile]
    cargo += ["--features", "deflate", "--example", "conformance-peer"]
    if subprocess.run(cargo, cwd=ROOT).returncode:
        return 2
    os.execvp(apart[0], [*apart, sys.executable, __file__, "--inside", scope])


def own_network():
    """The command before a command that gives it a network of its own, and ends with it whatever it has started."""
    apart = ["unshare", *([] if os.geteuid() == 0 else ["--map-root-user"]), "--net", "--pid", "--kill-child"]
    tried = attempt([*apart, "ip", "link", "set", "lo", "up"], limit=10)
    if tried:
        raise Unable(f"no network namespace to be had (unshare and ip of Debian's util-linux and iproute2): {tried}")
    return apart


def attempt(command, limit, **environment):
    """Runs it; what it said if it failed."""
    try:
        done = subprocess.run(command, env={**os.environ, **environment}, timeout=limit, capture_output=True, text=True)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    said = (done.stderr or done.stdout).strip().splitlines() or [f"exit status {done.returncode}"]
    return said[-1] if done.returncode else ""


def install_suite():
    wanted = HERE / "requirements.txt"
    installed = SUITE / ".installed"
    if installed.exists() and installed.read_bytes() == wanted.read_bytes():
        return
    python = find_python2()
    print(f"conformance: installing the Autobahn testsuite in {SUITE}", flush=True)
    shutil.rmtree(SUITE, ignore_errors=True)
    quiet = {"PIP_NO_PYTHON_VERSION_WARNING": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    with tempfile.TemporaryDirectory() as folder:
        # The last that runs on Python 2.7.
        steps = [
            [python, "-m", "pip", "install", "--quiet", "--target", folder, "virtualenv==16.7.12"],
            [python, f"{folder}/virtualenv.py", "--quiet", "--no-download", str(SUITE)],
            [f"{SUITE}/bin/pip", "install", "--quiet", "--no-deps", "--requirement", str(wanted)],
        ]
        for step in steps:
            failure = attempt(step, limit=600, **quiet)
            if failure:
                raise Unable(f"the Autobahn testsuite could not be installed: {failure}")
    shutil.copy(wanted, installed)


def find_python2():
    pyenv = os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv"
    candidates = [os.environ.get("PYTHON2"), *glob.glob(f"{pyenv}/versions/2.7*/bin/python2.7"), "python2.7"]
    for candidate in filter(None, candidates):
        # pyenv's `python2.7` in PATH may lead nowhere.
        if not attempt([candidate, "-c", "import sys, pip; sys.exit(sys.version_info[:2] != (2, 7))"], limit=30):
            return candidate
    raise Unable("the Autobahn testsuite needs a Python 2.7 with pip; set PYTHON2 to one")


def run_both_ways(scope):
    """In the network of its own, as the first process of its own: what it leaves behind ends with it."""
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, lambda number, _: sys.exit(128 + number))
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    peer = str(TARGET / ("release" if scope == "all" else "debug") / "examples/conformance-peer")
    wstest = [f"{SUITE}/bin/python", "-W", "ignore", f"{SUITE}/bin/wstest"]
    shutil.rmtree(REPORTS, ignore_errors=True)
    good = True
    for way in ("server", "client"):
        folder = REPORTS / way
        folder.mkdir(parents=True)
        spec = folder / "spec.json"
        spec.write_text(json.dumps({
            "outdir": str(folder),
            "url": URL,
            "servers": [{"agent": AGENT, "url": URL}],
            "cases": QUICK if scope == "quick" else ["*"],
            "exclude-cases": [],
            "exclude-agent-cases": {},
        }))
        fuzz = [*wstest, "--spec", str(spec), "--mode"]
        if way == "server":
            pair = [peer, "serve", f"127.0.0.1:{PORT}"], [*fuzz, "fuzzingclient"]
        else:
            pair = [*fuzz, "fuzzingserver", "--webport", "0"], [peer, "connect", URL, AGENT]
        began = time.monotonic()
        trouble = run_pair(*pair, folder, LIMITS[scope])
        took = time.monotonic() - began
        good &= report(way, folder, trouble, took)
    return 0 if good else 1


def run_pair(listens, calls, folder, limit):
    """Runs one program until the other has ended; what went wrong with them."""
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with open(folder / "listens.log", "wb") as one, open(folder / "calls.log", "wb") as other:
        listener = subprocess.Popen(listens, env=environment, stdout=one, stderr=one)
        try:
            if not is_up(listener):
                return "nothing listens"
            done = subprocess.run(calls, env=environment, stdout=other, stderr=other, timeout=limit)
        except subprocess.TimeoutExpired:
            return f"the time limit of {limit} s was reached"
        finally:
            early = listener.poll()
            listener.kill()
            listener.wait()
    if early is not None:
        return f"the listening one ended early, with status {early}"
    return f"the calling one ended with status {done.returncode}" if done.returncode else ""


def is_up(listener):
    for _ in range(300):
        with socket.socket() as probe:
            if listener.poll() is not None:
                return False
            if probe.connect_ex(("127.0.0.1", PORT)) == 0:
                return True
        time.sleep(0.1)
    return False


def report(way, folder, trouble, took):
    """Prints what came out; whether all is well."""
    cases = selected(folder)
    try:
        results = json.loads((folder / "index.json").read_text()).get(AGENT, {})
    except OSError:
        results = {}
    kinds = {kind: [] for kind in [*KINDS.values(), "failed", "not run"]}
    for case in cases:
        # Without a result it was never reached.
        kinds[kind_of(results[case]) if case in results else "not run"].append(case)
    counts = ", ".join(f"{len(found)} {kind}" for kind, found in kinds.items())
    print(f"our {way}: {len(cases)} cases in {took:.0f} s: {counts}")
    for kind in ("non-strict", "informational", "failed", "not run"):
        if kinds[kind]:
            print(f"  {kind}: {' '.join(kinds[kind])}")
    good = bool(cases) and not kinds["failed"] and not kinds["not run"] and not trouble
    if trouble:
        print(f"  {trouble}; see the logs beside the reports")
    print(f"  reports: {folder}/index.html", flush=True)
    return good


def selected(folder):
    """What the suite says that it runs: a line of `Cases = ['1.1.1', '1.1.2', …`."""
    for log in ("listens.log", "calls.log"):
        for line in (folder / log).read_text(errors="replace").splitlines():
            if line.startswith("Cases = "):
                return ast.literal_eval(line[len("Cases = "):])
    return []


def kind_of(result):
    """A wrong closing handshake is a failure, too."""
    if result["behaviorClose"] not in KINDS:
        return "failed"
    return KINDS.get(result["behavior"], "failed")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
