"""Who a node is: keys and certificates, tokens to enrol with, and who may no longer come in."""
