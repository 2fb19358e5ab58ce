"""The prediction server: the Open Inference Protocol over HTTP and gRPC."""
