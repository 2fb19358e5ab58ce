"""What moves between nodes: connections, messages and pieces of blobs, over gRPC and mutual TLS."""
