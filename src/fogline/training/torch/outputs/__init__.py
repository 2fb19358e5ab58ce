"""What a module gives, and how it goes together with targets: answers, losses, judgements."""
