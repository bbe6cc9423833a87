"""The grader over HTTP."""
