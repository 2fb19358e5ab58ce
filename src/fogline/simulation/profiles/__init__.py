"""How unequal the simulated devices and links are."""

from fogline.simulation.profiles.availability import DAY, Diurnal, Hourly
from fogline.simulation.profiles.distribution import Distribution
from fogline.simulation.profiles.errors import ProfileError
from fogline.simulation.profiles.fedscale import fedscale_profile
from fogline.simulation.profiles.fleet import Fleet
from fogline.simulation.profiles.from_job import device_profile, fleet_of, link_of, link_profile
from fogline.simulation.profiles.link import Link, LinkProfile
from fogline.simulation.profiles.presets import DEVICE_PRESETS
from fogline.simulation.profiles.profile import DeviceProfile

__all__ = [
    "DAY",
    "DEVICE_PRESETS",
    "DeviceProfile",
    "Distribution",
    "Diurnal",
    "Fleet",
    "Hourly",
    "Link",
    "LinkProfile",
    "ProfileError",
    "device_profile",
    "fedscale_profile",
    "fleet_of",
    "link_of",
    "link_profile",
]
