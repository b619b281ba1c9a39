"""Transactions of etcd, in words."""

from __future__ import annotations

from collections.abc import Sequence

from chronos.cluster.etcd import rpc_pb2 as pb


def modified_at(key: bytes, revision: int) -> pb.Compare:
    """Hold when `key` was last written at `revision`; at 0 when there is no such key."""
    return pb.Compare(result=pb.Compare.EQUAL, target=pb.Compare.MOD, key=key, mod_revision=revision)


def exists(key: bytes) -> pb.Compare:
    """Hold when there is such a key."""
    return pb.Compare(result=pb.Compare.GREATER, target=pb.Compare.CREATE, key=key, create_revision=0)


def absent(key: bytes) -> pb.Compare:
    """Hold when there is no such key."""
    return pb.Compare(result=pb.Compare.EQUAL, target=pb.Compare.CREATE, key=key, create_revision=0)


def holds(key: bytes, value: bytes) -> pb.Compare:
    """Hold when this is its value; never when there is no such key."""
    return pb.Compare(result=pb.Compare.EQUAL, target=pb.Compare.VALUE, key=key, value=value)


def put(key: bytes, value: bytes) -> pb.RequestOp:
    """Write a value."""
    return pb.RequestOp(request_put=pb.PutRequest(key=key, value=value))


def delete(frm: bytes, end: bytes = b"") -> pb.RequestOp:
    """Delete the keys from `frm` to before `end`; without an end, one key."""
    return pb.RequestOp(request_delete_range=pb.DeleteRangeRequest(key=frm, range_end=end))


def get(key: bytes, *, keys_only: bool = False, local: bool = False) -> pb.RequestOp:
    """Read one key; `local`: as far as this member knows it."""
    return pb.RequestOp(request_range=pb.RangeRequest(key=key, keys_only=keys_only, serializable=local))


def read(frm: bytes, end: bytes, limit: int, *, keys_only: bool = False, local: bool = False) -> pb.RequestOp:
    """Read at most `limit` keys from `frm` to before `end`, in order.

    Never asked to sort: for that, etcd would read all of them, whatever the limit.
    """
    request = pb.RangeRequest(key=frm, range_end=end, limit=limit, keys_only=keys_only, serializable=local)
    return pb.RequestOp(request_range=request)


def count(frm: bytes, end: bytes) -> pb.RequestOp:
    """Count the keys from `frm` to before `end`."""
    return pb.RequestOp(request_range=pb.RangeRequest(key=frm, range_end=end, count_only=True))


def txn(
    when: Sequence[pb.Compare], do: Sequence[pb.RequestOp], otherwise: Sequence[pb.RequestOp] = ()
) -> pb.TxnRequest:
    """When all of `when` holds `do`, else do `otherwise`."""
    return pb.TxnRequest(compare=when, success=do, failure=otherwise)


def found(answer: pb.TxnResponse, at: int) -> pb.KeyValue | None:
    """Return the one key that the read at place `at` has found; None when it found none."""
    kvs = answer.responses[at].response_range.kvs
    return kvs[0] if kvs else None
