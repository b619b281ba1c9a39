"""Copies of a good export in which one thing is not as it was."""

from __future__ import annotations

import random
from typing import Any, NamedTuple

import msgspec
from tests.unit.verify.exporting import ended

from chronos.store.proof import leaf
from chronos.verify.hashes import instant_in

ROWS = ("execution", "range")
CHANGES = ("revision", "deletion", "document", "reset")
# What one would change to make a record say something else.
FIELDS: dict[str, list[str]] = {
    "execution": ["status", "reason", "ended_at_us", "scheduled_s", "revision", "job_id", "started_at_us", "id"],
    "range": ["reason", "count", "last_s", "first_s", "job_id"],
    "revision": ["owed_since_us", "spec", "anchor_s", "paused", "updated_by"],
    "deletion": ["time_us"],
    "seal": ["rows", "first_s", "last_s", "root", "executions", "skipped", "changes", "changes_hash", "previous"],
}


class Tampered(NamedTuple):
    """A copy, and the instants (from, to) that whoever verifies it must be told."""

    lines: list[bytes]
    what: str
    first_s: int
    last_s: int
    was_due: bool = False


class Forger:
    """Changes one line of an export.

    Args:
        is_careful: Whether what nothing vouches for is made to fit afterwards: hashes and ids beside a record,
            numbers of rows, the digest at the end. Only seals are then left to find out.
    """

    def __init__(self, lines: list[bytes], seed: int, *, is_careful: bool) -> None:
        self._chance = random.Random(seed)
        self._said: list[dict[str, Any]] = [msgspec.json.decode(line) for line in lines[:-1]]
        self._is_careful = is_careful
        self._sealed = int(self._said[0]["sealed"])

    def tamper(self, types: tuple[str, ...], deed: str) -> Tampered:
        """Return a copy in which one line of `types` is altered, deleted or added."""
        places = [n for n, said in enumerate(self._said) if said["type"] in types and self._is_vouched_for(said)]
        place = self._chance.choice(places)
        victim = self._said[place]
        first, last = self._instants(victim)
        said = list(self._said)
        if deed == "delete":
            del said[place]
        elif deed == "add":
            added = self._altered(victim)
            said.insert(place + 1, added)
            first, last = _wider((first, last), self._instants(added))
        else:
            said[place] = self._altered(victim)
            first, last = _wider((first, last), self._instants(said[place]))
        what = f"{deed} {victim['type']} {victim.get('segment', victim.get('seq'))}: {victim['data']}"
        if self._is_careful:
            said = _made_to_fit(said)
        return Tampered(ended([_line(each) for each in said]), what, first, last, _was_due(victim))

    def _is_vouched_for(self, said: dict[str, Any]) -> bool:
        return said["type"] not in ROWS or said["segment"] <= self._sealed

    def _altered(self, said: dict[str, Any]) -> dict[str, Any]:
        data = msgspec.json.decode(msgspec.json.encode(said["data"]))
        holder = data["job"] if said["type"] == "revision" else data
        name = self._chance.choice(FIELDS[said["type"]])
        holder[name] = self._another(holder.get(name))
        altered = {**said, "data": data}
        if said["type"] == "seal":
            altered["segment"] = data["segment"]
        return altered

    def _another(self, value: Any) -> Any:
        if isinstance(value, int):
            return value + self._chance.choice((1, 60, 3_600))
        if isinstance(value, dict):
            return {**value, "schedules": ["17 3 * * *"]} if "schedules" in value else {"reason": "made up"}
        if not value:
            return "made up"
        if value in ("success", "failed", "cancelled"):
            return {"success": "failed"}.get(value, "success")
        digit = "0" if value[-1] != "0" else "1"
        return value[:-1] + digit

    def _instants(self, said: dict[str, Any]) -> tuple[int, int]:
        data = said["data"]
        if said["type"] == "execution":
            instants = [data["scheduled_s"], instant_in(data["id"]) or data["scheduled_s"]]
            return min(instants), max(instants)
        if said["type"] in ("range", "seal"):
            return min(data["first_s"], data["last_s"]), max(data["first_s"], data["last_s"])
        time_us = data["job"]["updated_at_us"] if said["type"] == "revision" else data["time_us"]
        return time_us // 1_000_000, time_us // 1_000_000


def _was_due(said: dict[str, Any]) -> bool:
    if said["type"] != "execution" or said["data"]["status"] == "cancelled":
        return False  # an edit may have taken the instant back: then it needs no record
    return said["data"]["kind"] == "schedule" and not said["data"].get("series")


def _wider(a: tuple[int, int], b: tuple[int, int]) -> tuple[int, int]:
    return min(a[0], b[0]), max(a[1], b[1])


def _line(said: dict[str, Any]) -> bytes:
    return msgspec.json.encode({**said, "data": _raw(said)} if "data" in said else said) + b"\n"


def _raw(said: dict[str, Any]) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(said["data"], order="deterministic"))


def _made_to_fit(said: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return lines whose hashes, predecessors and numbers fit; the order of rows, too."""
    found: list[dict[str, Any]] = []
    rows: list[dict[str, Any]] = []
    for each in said:
        if each["type"] in ROWS:
            rows.append(each)
            continue
        if each["type"] == "segment_end":
            after = ""
            for row in sorted(rows, key=row_key):
                hashed = leaf(bytes(_raw(row))).hex()
                found.append({**row, "leaf": hashed, "after": after})
                after = "{}/{}".format(*row_key(row))
            found.append({**each, "rows": len(rows), "after": after})
            rows = []
        elif each["type"] in CHANGES:
            found.append({**each, "seq": each["data"]["seq"], "leaf": leaf(bytes(_raw(each))).hex()})
        else:
            found.append(each)
    return found


def row_key(row: dict[str, Any]) -> tuple[str, int]:
    data = row["data"]
    if row["type"] == "range":
        return f"rng_{data['first_s']:012d}_{data['job_id']}_{data['reason']}", 0
    return data["id"], data.get("series", 0)
