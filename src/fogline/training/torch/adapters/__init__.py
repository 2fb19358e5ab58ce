"""Few parameters beside a module's own: low-rank ones (LoRA) and bottlenecks, put in by name and merged out again."""

from fogline.training.torch.adapters.adapting import Bottleneck, Lora, adapt
from fogline.training.torch.adapters.merging import can_be_merged, merge

__all__ = ["Bottleneck", "Lora", "adapt", "can_be_merged", "merge"]
