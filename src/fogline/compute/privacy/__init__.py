"""What differential privacy does to a device's contribution before it leaves."""
