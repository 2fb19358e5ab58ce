"""Tables of a site, as tasks may see them: altered copies, schemas without data, and made-up data true to a schema."""
