"""Figures to experiment loggers, each of which takes them in its own way."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from lightning.pytorch.loggers import Logger

# Takes the name of a figure, the figure and the step.
FigureSink: TypeAlias = Callable[[str, Any, int], object]


def figure_sink(logger: Logger) -> FigureSink | None:
    """Find out how a logger takes figures, by the methods that it has, as no common one exists.

    TensorBoard has ``experiment.add_figure``, Weights & Biases ``log_image``, and MLflow and Comet have
    ``experiment.log_figure``, of which MLflow wants to know the run.

    Args:
        logger: any logger of Lightning.

    Returns:
        A function of the name, the figure and the step, or ``None`` if the logger takes no figures.
    """
    experiment: Any = getattr(logger, "experiment", None)
    if hasattr(experiment, "add_figure"):
        return lambda name, figure, step: experiment.add_figure(name, figure, step)
    if hasattr(experiment, "log_figure"):
        run = getattr(logger, "run_id", None)
        if run is None:
            return lambda name, figure, step: experiment.log_figure(figure_name=name, figure=figure, step=step)
        return lambda name, figure, step: experiment.log_figure(run, figure, f"{name}/step_{step}.png")
    if hasattr(logger, "log_image"):
        log_image = logger.log_image
        return lambda name, figure, step: log_image(name, [figure], step)
    return None
