"""Runs the queries of a program over a data set and decides the verdicts."""
