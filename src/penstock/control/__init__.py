"""
The control process: follows the stack file, keeps the ledger and the keys, serves the admin API.

It is the only process that opens the database. Gateways and the node go on without it.
"""
