"""
`penstock.yaml`: parsed into one frozen `Stack`, each value with its origin, and compiled into snapshot documents.

    bytes ─► source (tree with positions) ─► resolve (environment) ─► schema (typed, checked) ─► Stack ─► compile

Every problem of a file is found in one pass and reported with its line. Weights, certificates and secrets are the
business of those who use them; only `load`, which a person waits for, looks whether they are there (`files`).
"""
