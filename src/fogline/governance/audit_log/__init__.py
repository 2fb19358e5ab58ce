"""The audit log of a node: what was decided and done there, so that nobody can change it unseen.

Records stand in one file, each with the hash of the one before it. They are the leaves of a Merkle tree, of which the
node signs the root: its head. A head that another node keeps (an anchor) binds the past: from then on a record that
is changed, taken away or moved cannot be explained any more.
"""
