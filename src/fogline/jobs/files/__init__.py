"""Jobs as TOML files."""
