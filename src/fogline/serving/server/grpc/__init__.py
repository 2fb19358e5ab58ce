"""The protocol over gRPC; its parts are loaded with the first request, for they take some megabytes."""
