"""The deep models of the shelf beside the recipe net: each a NeuralModel around its net."""
