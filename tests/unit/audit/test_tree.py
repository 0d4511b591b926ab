"""RFC 6962: the vectors every implementation is measured by, and pymerkle as an oracle."""

from __future__ import annotations

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymerkle import InmemoryTree

from gateway.audit.proofs import consistency_proof, inclusion_proof
from gateway.audit.tree import (
    EMPTY_ROOT,
    Frontier,
    leaf_hash,
    root_of,
    verify_consistency,
    verify_inclusion,
)

# The inputs and roots of the Certificate Transparency reference tests (RFC 6962 gives the tree's definition).
INPUTS = [bytes.fromhex(h) for h in ["", "00", "10", "2021", "3031", "40414243", "5051525354555657",
                                     "606162636465666768696a6b6c6d6e6f"]]  # fmt: skip
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


@pytest.mark.parametrize("size", range(9))
def test_reference_roots(size: int) -> None:
    frontier = Frontier()
    for data in INPUTS[:size]:
        frontier.append(leaf_hash(data))
    assert frontier.root() == (bytes.fromhex(ROOTS[size - 1]) if size else sha256(b"").digest())
    assert frontier.size == size


@given(st.lists(st.binary(max_size=8), min_size=1, max_size=70), st.data())
def test_roots_and_proofs_agree_with_pymerkle(entries: list[bytes], data: st.DataObject) -> None:
    oracle = InmemoryTree(algorithm="sha256")
    for entry in entries:
        oracle.append_entry(entry)
    leaves = [leaf_hash(entry) for entry in entries]
    assert root_of(leaves) == oracle.get_root()
    index = data.draw(st.integers(0, len(entries) - 1))
    old = data.draw(st.integers(1, len(entries)))
    theirs = oracle.prove_inclusion(index + 1, len(entries))
    assert [leaves[index], *inclusion_proof(leaves, index)] == [bytes.fromhex(h) for h in theirs.serialize()["path"]]
    assert oracle.get_root(old) == root_of(leaves[:old])


@given(st.integers(1, 40), st.data())
def test_proofs_verify_and_nothing_else_does(size: int, data: st.DataObject) -> None:
    leaves = [leaf_hash(bytes([n])) for n in range(size)]
    root = root_of(leaves)
    index = data.draw(st.integers(0, size - 1))
    proof = inclusion_proof(leaves, index)
    assert verify_inclusion(root, size, index, leaves[index], proof)
    other = data.draw(st.integers(0, size + 2).filter(lambda n: n != index))
    assert not verify_inclusion(root, size, other, leaves[index], proof)
    assert not verify_inclusion(root, size, index, leaf_hash(b"other"), proof)
    assert not verify_inclusion(root, size, index, leaves[index], [*proof, bytes(32)])
    if proof:
        assert not verify_inclusion(root, size, index, leaves[index], proof[:-1])


@given(st.integers(0, 40), st.integers(0, 40), st.data())
def test_consistency(a: int, b: int, data: st.DataObject) -> None:
    old, new = sorted((a, b))
    leaves = [leaf_hash(bytes([n])) for n in range(new)]
    proof = consistency_proof(leaves, old)
    assert verify_consistency(old, root_of(leaves[:old]), new, root_of(leaves), proof)
    assert not verify_consistency(old, leaf_hash(b"x"), new, root_of(leaves), proof)
    if old > 0:
        forked = [leaf_hash(b"forked"), *leaves[1:]]
        assert not verify_consistency(old, root_of(forked[:old]), new, root_of(leaves), proof)
    if 0 < old < new:
        assert not verify_consistency(old, root_of(leaves[:old]), new, leaf_hash(b"x"), proof)
        assert not verify_consistency(old, root_of(leaves[:old]), new, root_of(leaves), proof[:-1])
        assert not verify_consistency(old, root_of(leaves[:old]), new, root_of(leaves), [*proof, bytes(32)])


def test_empty_and_outside() -> None:
    assert Frontier().root() == EMPTY_ROOT
    assert not verify_consistency(2, EMPTY_ROOT, 1, EMPTY_ROOT, [])
    with pytest.raises(IndexError):
        inclusion_proof([], 0)
    with pytest.raises(IndexError):
        consistency_proof([], 1)
