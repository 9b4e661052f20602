"""
The lab: an upstream that misbehaves on order, for tests of the gateway, for benchmarks and for drills.

`penstock.lab.upstream` is the server; `penstock.lab.orders` says what it can be told; `docs/lab.md` shows each order.
"""
