"""What a job is: a checked description of task, algorithm, tree, local training and evaluation."""

from fogline.attributes import describe_attributes
from fogline.jobs.errors import JobError, check
from fogline.jobs.job import Evaluation, Job, JobNeeds, Local, Method
from fogline.jobs.privacy import Privacy
from fogline.jobs.tree import Tier, Tree
from fogline.modes import Mode

__all__ = ["Evaluation", "Job", "JobError", "JobNeeds", "Local", "Method", "Mode", "Privacy", "Tier", "Tree", "check"]

describe_attributes(__name__)
