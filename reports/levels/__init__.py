"""The results of one policy for each level: a small folder for each, a table of all of them, and a sheet of their flags.

A folder of levels, `results/levels`, has everything that its pages need; they can be written again without a database.
"""
