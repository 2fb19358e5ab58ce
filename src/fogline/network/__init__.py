"""The same nodes on real machines: gRPC over mutual TLS, journals on disk, real clocks."""
