"""`make bench`: one-shot copies of a table by Inlet and by other programs, in the same run on this machine.

`shapes` has the tables, `tools/` one file for each program, `bench` starts and measures a program, `__main__` lets
them take turns, checks what they wrote, and compares the ratios with the recorded ones.
"""
