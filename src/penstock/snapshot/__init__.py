"""
What processes tell each other on one host: immutable, versioned documents, each an atomically replaced file. Those for
gateways go over the network to other hosts as they are (`bundle`).

| document     | written by | read by        |
|--------------|------------|----------------|
| `Config`     | control    | gateways       |
| `Principals`, `PackedPrincipals` | control | gateways |
| `Standings`  | control    | node           |
| `Desired`    | control    | node           |
| `Fleet`      | node       | gateways, control |

This package is the contract between planes: a reader refuses a format it does not know and keeps what it has.
"""
