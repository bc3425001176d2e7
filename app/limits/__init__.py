"""Quota and disclosure budget: accounts, their atomic front in Redis, and its rebuild from the charge rows."""
