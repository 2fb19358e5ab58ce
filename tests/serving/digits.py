"""The task of the fleet's tests: a linear model on scikit-learn's digits."""

from __future__ import annotations

from sklearn.linear_model import SGDClassifier

from fogline import SklearnTask, load


def task(clients: int = 2) -> SklearnTask:
    return SklearnTask(
        SGDClassifier(loss="log_loss"), load("digits", partition="dirichlet", clients=clients, alpha=10.0)
    )
