"""Lists of trainings: planned, run one after the other in one process, watched, stopped and taken up again as a whole.

`plan` and `runner` hold what all share; strategies, seeds, recipes and the demo are each a list of configs.
"""
