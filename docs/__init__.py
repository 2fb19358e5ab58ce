"""The documents, and in ``docs.site`` what makes a site of them."""
