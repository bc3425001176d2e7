"""The life of applications, agreements and disputes: who may take which step, from which state, and what it changes.

Every step is a record of the decision log with a receipt, written in one transaction with the change it makes
(`app.steps`). Nothing is granted by silence: a clock that runs out only shows.
"""
