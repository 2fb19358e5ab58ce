"""A job that runs at the cloud: its rounds judged and written down, what devices are asked beside, its versions."""
