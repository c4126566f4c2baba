"""The norm of the whole gradient over the steps."""

import math
from statistics import median
from typing import Any

from ...registry import register
from .contract import Course, Observer


@register("observer", "gradients", source="Pascanu et al. 2012, arXiv:1211.5063")
class GradientNorms(Observer):
    """The gradient's norm before clipping: its median, its largest, how far apart they are, how often it is clipped.

    ``gradient_norm_tail`` is the largest over the median. ``clipped_share`` is of the steps after the warm-up, whose
    gradients are large in healthy runs as well; 0 where nothing clips.
    """

    def summary(self, course: Course) -> dict[str, Any]:
        norms = [norm for norm in course.gradient_norms if math.isfinite(norm)]
        middle, largest = median(norms) if norms else None, max(norms, default=None)
        after = [norm for norm in course.gradient_norms[course.n_warmup :] if math.isfinite(norm)]
        clip = course.gradient_clip
        clipped = sum(norm > clip for norm in after) / len(after) if clip is not None and after else None
        return {
            "gradient_norm_median": middle,
            "gradient_norm_max": largest,
            "gradient_norm_tail": largest / middle if largest is not None and middle else None,
            "clipped_share": 0.0 if clip is None else clipped,
        }
