"""What the owner of a node lets in, and what of the site's data it shows."""
