"""nnU-Net's experiment planner, within what a profile fixes of patch, batch and channels."""

import os
from pathlib import Path
from typing import Any

from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import ExperimentPlanner
from nnunetv2.experiment_planning.experiment_planners.network_topology import get_pool_and_conv_props
from nnunetv2.experiment_planning.experiment_planners.residual_unets.residual_encoder_unet_planners import (
    nnUNetPlannerResEncL,
    nnUNetPlannerResEncM,
    nnUNetPlannerResEncXL,
)

from pipelines.profiles import TeacherProfile
from pipelines.training.teacher_folders import AUGMENTERS_VARIABLE, PLANS, write_json


class ProfilePlanner(ExperimentPlanner):
    """The default planner; where the profile leaves a figure open, nnU-Net's own stands.

    Its subclasses put one of nnU-Net's other planners behind the same settings.
    """

    def __init__(self, dataset: str, profile: TeacherProfile) -> None:
        # All planners write under one name: a job has one plan, and its trainer looks for this one.
        super().__init__(dataset, plans_name=PLANS)
        self._profile = profile
        if profile.base_features is not None:
            self.UNet_base_num_features = profile.base_features
        if profile.max_features is not None:
            self.UNet_max_features_3d = profile.max_features

    def get_plans_for_configuration(
        self, spacing: Any, median_shape: Any, data_identifier: str, *rest: Any
    ) -> dict[str, Any]:
        """The planner's configuration; 3d_fullres with the profile's patch and batch."""
        plan: dict[str, Any] = super().get_plans_for_configuration(
            spacing, median_shape, data_identifier, *rest
        )
        if data_identifier != self.generate_data_identifier("3d_fullres"):
            return plan
        if self._profile.patch_size is not None:
            forward, _ = self.determine_transpose()
            self._set_patch(plan, [self._profile.patch_size[axis] for axis in forward])
        if self._profile.batch_size is not None:
            plan["batch_size"] = self._profile.batch_size
        return plan

    def _set_patch(self, plan: dict[str, Any], patch_size: list[int]) -> None:
        """Give the plan this patch and the network depth that nnU-Net's rules make of it."""
        _, strides, kernels, patch, _ = get_pool_and_conv_props(
            plan["spacing"], patch_size, self.UNet_featuremap_min_edge_length, 999999
        )
        stages = len(strides)
        features = [min(self.UNet_max_features_3d, self.UNet_base_num_features * 2**i) for i in range(stages)]
        plan["patch_size"] = patch
        network = plan["architecture"]["arch_kwargs"]
        # An encoder stage is a number of convolutions, or of residual blocks.
        per_stage = "n_blocks_per_stage" if "n_blocks_per_stage" in network else "n_conv_per_stage"
        network.update(
            n_stages=stages,
            features_per_stage=features,
            kernel_sizes=kernels,
            strides=strides,
            n_conv_per_stage_decoder=self.UNet_blocks_per_stage_decoder[: stages - 1],
        )
        network[per_stage] = self.UNet_blocks_per_stage_encoder[:stages]

    def save_plans(self, plans: dict[str, Any]) -> None:
        """Left to `make_plans`, which writes them whole."""


class _ResEncMPlanner(ProfilePlanner, nnUNetPlannerResEncM):
    """nnU-Net's residual encoder for about 10 GB of GPU memory."""


class _ResEncLPlanner(ProfilePlanner, nnUNetPlannerResEncL):
    """nnU-Net's residual encoder for about 24 GB: what it recommends today."""


class _ResEncXLPlanner(ProfilePlanner, nnUNetPlannerResEncXL):
    """nnU-Net's residual encoder for about 40 GB."""


_PLANNERS = {
    "default": ProfilePlanner,
    "resenc_m": _ResEncMPlanner,
    "resenc_l": _ResEncLPlanner,
    "resenc_xl": _ResEncXLPlanner,
}


def make_plans(dataset: str, plans_file: Path, profile: TeacherProfile) -> None:
    """Plan the dataset and write nnUNetPlans.json. The fingerprint and dataset.json have to be there."""
    # The planner sets torch's threads to this while it sizes networks, and 0 is no number of threads.
    before = os.environ.get(AUGMENTERS_VARIABLE)
    os.environ[AUGMENTERS_VARIABLE] = "1"
    try:
        plans = _PLANNERS[profile.planner](dataset, profile).plan_experiment()
    finally:
        del os.environ[AUGMENTERS_VARIABLE]
        if before is not None:
            os.environ[AUGMENTERS_VARIABLE] = before
    write_json(plans_file, plans)
