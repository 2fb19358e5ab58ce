"""Makes a site of the documents: ``make docs``.

``staging`` lays out what people wrote; ``api`` and ``named`` write what the code says of itself; zensical makes HTML of
it all, as ``zensical.toml`` says.
"""
