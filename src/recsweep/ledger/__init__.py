"""The reference ledger: published results, and what this code gives under the same protocol."""
