"""The Open Inference Protocol V2: what stands in requests and answers, without a socket."""
