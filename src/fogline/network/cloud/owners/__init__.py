"""What owners of data see at a cloud and say to it: jobs that wait for their word, policies, what data gave away."""
