"""Ray's own autoscaler, asked what it would launch by a cluster's configuration."""

from typing import Any

from ray.autoscaler.v2.instance_manager.config import AutoscalingConfig
from ray.autoscaler.v2.scheduler import ResourceDemandScheduler, SchedulingRequest
from ray.autoscaler.v2.utils import ResourceRequestUtil


def launched(cluster: dict[str, Any], num_actors: int, **refused: float) -> dict[str, int]:
    """Return the workers that it launches for so many actors of a GPU each, after some types were refused."""
    config = AutoscalingConfig(cluster, skip_content_hash=True)
    actors = [ResourceRequestUtil.make({"CPU": 1, "GPU": 1})] * num_actors
    reply = ResourceDemandScheduler().schedule(
        SchedulingRequest(
            disable_launch_config_check=True,
            node_type_configs=config.get_node_type_configs(),
            max_num_nodes=config.get_max_num_nodes(),
            resource_requests=ResourceRequestUtil.group_by_count(actors),
            recoverable_resource_availabilities=refused,
        )
    )
    launches = {request.instance_type: request.count for request in reply.to_launch}
    return {name: count for name, count in launches.items() if name != cluster["head_node_type"]}
