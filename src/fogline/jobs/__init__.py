"""What a job is: a checked description of task, algorithm, tree, local training and evaluation."""

from fogline.attributes import describe_attributes
from fogline.jobs.errors import JobError, check
from fogline.jobs.job import Evaluation, Job, Local, Method, Needs
from fogline.jobs.tree import Mode, Tier, Tree

__all__ = ["Evaluation", "Job", "JobError", "Local", "Method", "Mode", "Needs", "Tier", "Tree", "check"]

describe_attributes(__name__)
