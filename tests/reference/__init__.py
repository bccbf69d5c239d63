"""Models against independent implementations, which `make test-reference` installs."""
