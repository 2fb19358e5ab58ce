"""The process that carries a lab's packets between its nodes."""
