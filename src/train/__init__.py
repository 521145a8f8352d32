"""Training: a trainer with callbacks, metrics, logs and checkpoints that resume to the exact same trajectory."""

from .callbacks import Callback, EarlyStopping, LearningRateMonitor, ModelCheckpoint, ProgressBar
from .logs import CSVLogger, TensorBoardLogger, plot_history
from .metrics import AUROC, F1, Accuracy, ConfusionMatrix, Mean, MeanSquaredError, Metric, Precision, Recall
from .seeding import seed_everything
from .trainer import CheckpointError, NonFiniteLossError, Trainer

__all__ = [
    "AUROC", "F1", "Accuracy", "CSVLogger", "Callback", "CheckpointError", "ConfusionMatrix", "EarlyStopping",
    "LearningRateMonitor", "Mean", "MeanSquaredError", "Metric", "ModelCheckpoint", "NonFiniteLossError", "Precision",
    "ProgressBar", "Recall", "TensorBoardLogger", "Trainer", "plot_history", "seed_everything",
]  # fmt: skip
