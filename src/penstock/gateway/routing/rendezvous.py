"""
Rendezvous hashing (Thaler and Ravishankar, 1998): every process orders the same replicas alike for the same key.

When a replica goes, only the keys that it was first for move, and each to the replica that was its second; when one
comes, it takes its share from all others, and nothing else moves.
"""

from __future__ import annotations

from hashlib import blake2b

_MASK = (1 << 64) - 1


def seed_of(text: str | bytes) -> int:
    """Return 64 bits that stand for a name, the same in every process."""
    data = text.encode() if isinstance(text, str) else text
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "big")


def weight(key: int, seed: int) -> int:
    """
    Return how much a key favours the replica with this seed; the highest weight wins.

    Args:
        key, seed: any bits. The key may be as weak as a checksum: they are multiplied and folded as in the finalizer of
            SplitMix64 (Steele and others, 2014), so that keys that differ in one bit order replicas independently.
    """
    mixed = (key * 0x9E3779B97F4A7C15 ^ seed) & _MASK
    mixed = (mixed ^ mixed >> 30) * 0xBF58476D1CE4E5B9 & _MASK
    mixed = (mixed ^ mixed >> 27) * 0x94D049BB133111EB & _MASK
    return mixed ^ mixed >> 31
