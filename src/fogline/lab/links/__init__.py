"""What a link does to packets: its settings, presets and recordings."""
