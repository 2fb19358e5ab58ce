"""What an aggregator knows of its children: who is there, how quick they are, how far they are trusted."""
