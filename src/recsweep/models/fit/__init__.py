"""How a net is trained, whichever net it is."""
