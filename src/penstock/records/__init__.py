"""
Durable state: the ledger, keys, and how far the journal has been read. Only control imports this.

Modules of tables are functions over a connection; whoever calls them holds the transaction
(`penstock.records.database.Database.write`), so that several tables change together or not at all.
"""
