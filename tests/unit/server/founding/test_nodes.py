"""Nodes as they are typed, and the ports they get."""

from __future__ import annotations

import pytest

from chronos.errors import Invalid
from chronos.server.founding.nodes import NODES_MAX, advice, read_name, read_nodes


def ports(*texts: str) -> list[tuple[str, int, int, int]]:
    return [(node.host, node.peer_port, node.engine_port, node.api_port) for node in read_nodes(texts)]


def test_hosts_of_their_own_all_have_the_same_ports() -> None:
    assert ports("n1=10.0.0.1", "n2=Cron2.example.org") == [
        ("10.0.0.1", 7443, 7444, 8080),
        ("cron2.example.org", 7443, 7444, 8080),
    ]


def test_nodes_on_one_host_are_moved_apart() -> None:
    assert ports("n1=127.0.0.1", "n2=127.0.0.1", "n3=127.0.0.1") == [
        ("127.0.0.1", 7443, 7444, 8080),
        ("127.0.0.1", 7453, 7454, 8081),
        ("127.0.0.1", 7463, 7464, 8082),
    ]


def test_a_port_may_be_given_and_ipv6_be_written_either_way() -> None:
    assert ports("a=h:9000", "b=[fd00::1]:9000", "c=fd00::2") == [
        ("h", 9000, 9001, 8080),
        ("fd00::1", 9000, 9001, 8080),
        ("fd00::2", 7443, 7444, 8080),
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("n1", "is not NAME=HOST"),
        ("=10.0.0.1", "is not NAME=HOST"),
        ("n 1=10.0.0.1", "is not NAME=HOST"),
        ("../n1=10.0.0.1", "is not NAME=HOST"),
        ("n1=", "neither a host name nor an IP address"),
        ("n1=10.0.0.300", "neither a host name nor an IP address"),
        ("n1=-host", "neither a host name nor an IP address"),
        ("n1=ho st", "neither a host name nor an IP address"),
        ('n1=h"', "neither a host name nor an IP address"),
        ("n1=h\nx", "neither a host name nor an IP address"),
        ("n1=http://h", "neither a host name nor an IP address"),
        ("n1=[::1", "neither a host name nor an IP address"),
        ("n1=h:0", "is no port"),
        ("n1=h:65535", "is no port"),
        ("n1=0.0.0.0", "no address at which"),
        ("n1=[::]:7443", "no address at which"),
        ("n1=224.0.0.1", "no address at which"),
        ("ca=10.0.0.1", "cannot be called `ca`"),
    ],
)
def test_what_cannot_be_a_node_is_said(text: str, said: str) -> None:
    with pytest.raises(Invalid, match=said):
        read_nodes([text])


def test_two_nodes_that_would_be_one_are_refused() -> None:
    with pytest.raises(Invalid, match="two nodes called `n1`"):
        read_nodes(["n1=a", "N1=b"])
    with pytest.raises(Invalid, match="`n2` and `n1` would both take a:7444"):
        read_nodes(["n1=a:7443", "n2=a:7444"])


def test_there_is_at_least_one_and_not_too_many() -> None:
    with pytest.raises(Invalid, match="at least one"):
        read_nodes([])
    with pytest.raises(Invalid, match="too many"):
        read_nodes([f"n{number}=h{number}" for number in range(NODES_MAX + 1)])


@pytest.mark.parametrize("name", ["", "a b", "-a", "a" * 64, 'a"', "a\n"])
def test_a_cluster_cannot_have_every_name(name: str) -> None:
    with pytest.raises(Invalid, match="cannot be a name"):
        read_name(name)


def test_a_number_that_is_no_good_is_advised_against() -> None:
    assert "survives no loss" in advice(read_nodes(["a=a"]))
    assert "2 nodes survive the loss of 0" in advice(read_nodes(["a=a", "b=b"]))
    assert advice(read_nodes(["a=a", "b=b", "c=c"])) == ""
