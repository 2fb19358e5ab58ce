"""Built-in figures for the preset ``phones``."""

from __future__ import annotations

PHONE_SPEED = 5000.0 / 1548.0
"""Examples per second (1 MFLOP each) per point of an AI-Benchmark CPU float score. Our assumption: the median
phone of 2019 (1548 points) trains at 5 GFLOP/s."""

PHONE_SCORES = (
    192.0, 241.0, 284.0, 357.0, 458.0, 612.0, 861.0, 1292.0, 1402.0, 1502.0,
    1569.0, 1673.0, 1786.0, 1997.0, 2108.0, 2223.0, 2808.0, 3183.0, 3496.0, 3943.0,
)  # fmt: skip
"""Middles of the twentieths of the CPU float scores of 333 phone models (ai-benchmark.com, January 2020, as
collected by FLASH, github.com/PKU-Chengxu/FLASH, BSD-2-Clause)."""

PHONE_MEMORY_MB = (
    768.0, 1024.0, 1024.0, 1536.0, 2048.0, 4096.0, 4096.0, 4096.0, 6144.0, 6144.0,
    4096.0, 4096.0, 4096.0, 6144.0, 6144.0, 6144.0, 8192.0, 6144.0, 8192.0, 8192.0,
)  # fmt: skip
"""Memory usual among the phones of each twentieth."""

WIFI_DOWN = (
    7491e3, 4055e3, 2370e3, 9913e3, 4209e3, 3778e3, 3473e3, 4668e3, 3298e3, 4284e3,
    3658e3, 7214e3, 8885e3, 5125e3, 7271e3, 4318e3, 6708e3, 17333e3, 3177e3,
)  # fmt: skip
"""Mean bytes per second to 19 phones in use (FLASH, ``models/speed_distri.json``; its unit is read as kB/s)."""

WIFI_UP = (
    4935e3, 3006e3, 2774e3, 6635e3, 2974e3, 2632e3, 5141e3, 3205e3, 2337e3, 3642e3,
    2547e3, 4040e3, 6279e3, 3730e3, 5743e3, 3286e3, 665e3, 5641e3, 431e3,
)  # fmt: skip
"""The same phones' uplinks."""
