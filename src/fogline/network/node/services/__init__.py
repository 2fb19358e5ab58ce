"""What nodes talk about: a file a subject, with the frames that it takes, who may say such a thing, and what comes of
it."""
