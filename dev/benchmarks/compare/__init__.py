"""Inlet, Debezium and Spark under the same load on this machine.

Read in this order: `__main__` (which paths, in which order), `run` (the phases of one path), `paths/` (how each
path is started and stopped), `load` (what happens in PostgreSQL), `topic`, `lake`, `measure` (what is measured),
`equal` (the lake against PostgreSQL), `report` and `pictures`.
"""
