"""One job on one node: its code, its worker process, its state machine, and who takes part."""
