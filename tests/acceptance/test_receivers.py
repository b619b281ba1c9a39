"""The receivers on the page *Receive executions*, each run as it stands there, against what the product sends."""

from __future__ import annotations

import base64
import json
import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.acceptance.fences import fences
from tests.unit.dispatch.fakes import a_delivery

from chronos.dispatch.http.request import build_request
from chronos.model.signing import new_key_pair, new_shared_secret
from chronos.model.target import HttpTarget
from chronos.timing.clock import SeededChance

SECONDS_MAX = 110.0

CHANCE = SeededChance(random.Random(11))
SHARED, OLDER, STRANGE = (new_shared_secret(CHANCE) for _ in range(3))
PRIVATE, PUBLIC = new_key_pair(CHANCE)
_, STRANGE_PUBLIC = new_key_pair(CHANCE)

# What follows the example: one case a line on stdin, `yes` or `no` a line on stdout.
MAINS = {
    "sdk": """
import base64, json, sys
for line in sys.stdin:
    case = json.loads(line)
    print("yes" if receive(base64.b64decode(case["body"]), case["headers"], case["secret"]) == 200 else "no")
""",
    "node": """
for (const line of require("node:fs").readFileSync(0, "utf8").trim().split("\\n")) {
  const { body, headers, secret } = JSON.parse(line);
  try {
    console.log(verify(Buffer.from(body, "base64"), headers, secret) === headers["webhook-id"] ? "yes" : "no");
  } catch (refused) {
    console.log("no");
  }
}
""",
    "go": """
package main

import (
	"encoding/json"
	"fmt"
	"os"
)

func main() {
	for decoder := json.NewDecoder(os.Stdin); decoder.More(); {
		var one struct {
			Body    []byte
			Headers map[string]string
			Secret  string
		}
		if decoder.Decode(&one) != nil {
			os.Exit(1)
		}
		id, err := verify(one.Body, func(name string) string { return one.Headers[name] }, one.Secret)
		if err == nil && id == one.Headers["webhook-id"] {
			fmt.Println("yes")
		} else {
			fmt.Println("no")
		}
	}
}
""",
}


def sent(signing_secret: str, body: str = '{"é": 1}', at_s: float | None = None) -> tuple[bytes, dict[str, str]]:
    """Return body and headers of a request as it leaves."""
    target = HttpTarget(url="http://target.test/", body=body, signing_secret=signing_secret)
    request = build_request(a_delivery("occ_a"), target, time.time() if at_s is None else at_s)
    return request.body, {name.decode().lower(): value.decode("latin-1") for name, value in request.lines()}


def cases() -> list[tuple[bytes, dict[str, str], str, bool]]:
    """Return requests, the receiver's secret, and whether the receiver may let them in."""
    body, shared = sent(SHARED)
    _, both = sent(f"{OLDER} {SHARED} {PRIVATE}")
    _, private = sent(PRIVATE)
    late, early = (sent(SHARED, at_s=time.time() + seconds)[1] for seconds in (-400, 400))
    flipped = shared["webhook-signature"].replace("v1,", "v1a,")
    nothing = {name: value for name, value in shared.items() if name != "webhook-signature"}
    dotted_body, dotted = sent(SHARED, body=f"{int(time.time())}.pay")
    dotted |= {"webhook-id": f"occ_a.{dotted['webhook-timestamp']}", "webhook-timestamp": dotted_body.decode()[:10]}
    short = {**shared, "webhook-signature": "v1," + base64.b64encode(b"x").decode()}
    return [
        (body, shared, SHARED, True),
        (body, private, PUBLIC, True),
        (body, both, SHARED, True),
        (body, both, OLDER, True),
        (body, both, PUBLIC, True),
        (sent(SHARED, "")[0], sent(SHARED, "")[1], SHARED, True),
        (body + b" ", shared, SHARED, False),
        (body + b" ", private, PUBLIC, False),
        (body, shared, STRANGE, False),
        (body, private, STRANGE_PUBLIC, False),
        (body, shared, PUBLIC, False),
        (body, private, SHARED, False),
        (body, late, SHARED, False),
        (body, early, SHARED, False),
        (body, {**shared, "webhook-id": "occ_b"}, SHARED, False),
        (body, {**shared, "webhook-timestamp": str(int(time.time()) + 7)}, SHARED, False),
        (body, {**shared, "webhook-timestamp": "soon"}, SHARED, False),
        (body, {**shared, "webhook-signature": flipped}, PUBLIC, False),
        (body, {**shared, "webhook-signature": "v1,"}, SHARED, False),
        (body, short, SHARED, False),
        (body, nothing, SHARED, False),
        (b"pay", dotted, SHARED, False),
    ]


def example(receiver: str) -> str:
    [text] = [fence.text for fence in fences() if fence.option("receiver") == receiver]
    return text


def tool(name: str) -> str:
    if (found := shutil.which(name)) is None:
        assert not os.environ.get("CHRONOS_REQUIRE_SERVICES"), f"{name} is missing; `make services` installs it"
        pytest.skip(f"{name} is not installed")
    return found


def command(receiver: str, folder: Path) -> list[str]:
    """Write the program and return what runs it."""
    if receiver == "go":
        (folder / "go.mod").write_text("module receiver\n\ngo 1.19\n")
        (folder / "verify.go").write_text(example("go"))
        (folder / "main.go").write_text(MAINS["go"])
        return [tool("go"), "run", "."]
    program = folder / ("receiver.cjs" if receiver == "node" else "receiver.py")
    program.write_text(example(receiver) + MAINS[receiver])
    return [tool("node") if receiver == "node" else sys.executable, str(program)]


@pytest.mark.parametrize("receiver", MAINS)
def test_a_receiver_as_documented_lets_in_what_is_ours_and_nothing_else(receiver: str, tmp_path: Path) -> None:
    wanted = cases()
    lines = [
        json.dumps({"body": base64.b64encode(body).decode(), "headers": headers, "secret": secret})
        for body, headers, secret, _ in wanted
    ]
    done = subprocess.run(
        command(receiver, tmp_path),
        cwd=tmp_path,
        input="\n".join(lines) + "\n",
        env={**os.environ, "GOPROXY": "off", "GOFLAGS": "-mod=mod", "GOTOOLCHAIN": "local"},
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said = done.stdout.split()
    assert len(said) == len(wanted)
    for n, (answer, (_, _, _, let_in)) in enumerate(zip(said, wanted, strict=True)):
        assert (answer == "yes") is let_in, f"case {n}: {lines[n]}"
