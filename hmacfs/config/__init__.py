"""TOML in, frozen settings out, or one report of every fault at once."""
