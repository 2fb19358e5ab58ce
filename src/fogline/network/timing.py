"""How long the network waits, and for what. All are seconds.

A round's deadline is none of these: it stands in the job (``deadline`` of a tier), and the state machines
(:mod:`fogline.nodes`) keep it. How long it takes until something that failed is tried again stands in
:mod:`fogline.retries`.
"""

from __future__ import annotations

# Connections.

PATIENCE = 10.0
"""A new connection has to say who it is, and a transfer must go on."""
BEAT = 20.0
"""Between two signs of life on a connection."""
SILENCE = 10.0
"""Without an answer to one, a connection is lost."""
STEADY = 20.0
"""A connection has to last so long for the next wait to be a short one again."""
SPREAD = 120.0
"""Over so long the children of a node that is back come back to it."""
LAST_FRAME = 1.0
"""A frame has to get out before its connection is cut."""
LAST_CALLS = 2.0
"""Connections have to end when a node leaves."""
LONGEST_CONNECTION = 30 * 86400.0
"""A connection lasts at most; a timer cannot wait for ever."""

# Certificates.

CERTIFICATE_SECONDS = 3600.0
"""After these the certificate is read anew where a parent is waited for."""

# Jobs on a node.

ALONE = 5.0
"""Without a device below it, before a node says so to its parent."""
BACK = 10.0
"""After a restart a node waits for the children that its job expects."""
JOIN_WINDOW = 2.0
"""A round waits for more children when the first one is there, where none is expected by name."""
RESTORED = 300.0
"""By then a worker has added differences to a model, a training that it is still at included; else it comes whole."""
LOOK = 60.0
"""Between two looks at the owner's policy, the clock and the power supply: nothing tells of their changes."""

# Audit logs.

SHOWN_AGAIN = 10.0
"""After a record, before a node shows its parent the head of its audit log: others of that time are shown with it."""

# The cloud.

NOTICED = 2 * (BEAT + SILENCE)
"""By then a parent has noticed, and said, that a child is gone."""
HEARD = 10.0
"""Who revokes a node waits, at most, for all fogs that are connected to have heard of it."""
LOOKED_AT = 1.0
"""Between something that is said in a job and a look at how its round stands, for people."""
