"""Everything that recommends: baselines and deep models, side by side behind one protocol."""
