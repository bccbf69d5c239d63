"""From a file of interactions to the parts of a split."""
