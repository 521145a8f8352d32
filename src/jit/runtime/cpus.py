"""How many CPUs this process may use: its affinity mask and its container's CPU quota."""

import math
import os
from pathlib import Path


def available_cpus(root: Path = Path("/")) -> int:
    """The number of CPUs that this process may keep busy, at least 1.

    It is the size of the affinity mask, capped by the CPU quota of the control group (v1 or v2), as containers set it.
    `root` is where /proc and /sys are found.
    """
    if hasattr(os, "sched_getaffinity"):
        count = len(os.sched_getaffinity(0))
    else:
        count = os.cpu_count() or 1
    quota = _cgroup_quota(root)
    if quota is not None:
        # A quota of 1.5 CPUs is served better by two threads than by one.
        count = min(count, math.ceil(quota))
    return max(count, 1)


def _cgroup_quota(root: Path) -> float | None:
    """The smallest CPU quota on the way from this process's control group to the root, in CPUs; None if there is none.

    Kernel documentation: admin-guide/cgroup-v2 (`cpu.max`) and scheduler/sched-bwc (`cpu.cfs_quota_us`).
    """
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except (OSError, UnicodeDecodeError):
        return None
    quotas = []
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        if controllers == "":
            base, read = root / "sys/fs/cgroup", _read_v2
        elif "cpu" in controllers.split(","):
            base, read = root / "sys/fs/cgroup" / "cpu", _read_v1
        else:
            continue
        # In a container the group's path may be the host's, which is not mounted: then only the root is read.
        folder = base / group.strip("/")
        for place in (folder, *folder.parents):
            if not place.is_relative_to(base):
                break
            quota = read(place)
            if quota is not None and quota > 0:
                quotas.append(quota)
    return min(quotas, default=None)


def _read_v2(folder: Path) -> float | None:
    try:
        quota, period = (folder / "cpu.max").read_text().split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None


def _read_v1(folder: Path) -> float | None:
    try:
        quota = int((folder / "cpu.cfs_quota_us").read_text())
        period = int((folder / "cpu.cfs_period_us").read_text())
        return None if quota < 0 else quota / period
    except (OSError, ValueError, ZeroDivisionError):
        return None
