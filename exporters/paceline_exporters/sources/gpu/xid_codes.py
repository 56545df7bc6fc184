"""What to do about an XID: the immediate action of NVIDIA's XID catalogue.

Source: docs.nvidia.com/deploy/xid-errors, *Analyzing Xid Errors with the Xid Catalog* (Ampere and newer), column
*Resolution Bucket (Immediate Action)*, in lower case. Where the catalogue names a workflow, the first step of it
stands here: 48 and 74 need a reset of the GPU, 45 follows from another XID or from the end of a process, for 144
to 150 the subcode in the kernel log decides, 154 itself names the action (`paceline_gpu_xid_recovery_info`).
What the catalogue gives no action is `contact_support`, as it says of all that is unused.
"""

from __future__ import annotations

from collections.abc import Mapping

UNKNOWN = "contact_support"
CODES_BY_ACTION: Mapping[str, tuple[int, ...]] = {
    "ignore": (
        *(14, 37, 38, 43, 44, 45, 63, 66, 67, 92, 93, 106, 107, 108),
        *(121, 137, 141, 152, 153, 157, 160, 161),
    ),
    "restart_app": (
        *(8, 11, 13, 25, 31, 32, 39, 40, 41, 60, 68, 69, 70, 71, 72, 75, 76, 77, 80),
        *(82, 83, 84, 85, 86, 88, 89, 94, *range(96, 106), *range(126, 136), 139),
    ),
    "reset_gpu": (46, 48, 62, 64, 74, 95, 109, 110, 119, 120, 136, 140, 143, 155, 156, 158),
    "restart_vm": (151,),
    "restart_bm": (79,),
    "check_mechanicals": (54,),
    "check_nvlink": (144, 145, 146, 147, 148, 149, 150),
    "check_uvm": (159,),
    "update_swfw": (78,),
    "follow_recovery_action": (154,),
}
ACTIONS = {code: action for action, codes in CODES_BY_ACTION.items() for code in codes}

ALERTED = (
    *(48, 62, 63, 64, 74, 79, 92, 94, 95, 109, 119, 120, 140, 143, 145, 149, 154, 171, 172),
    *(13, 31, 43, 45, 46),
)
"""What people alert on, or mute by name: for these each GPU has a series from the start. First the GPU's own
faults, then those that an application causes."""


def action(code: int) -> str:
    """Class of what to do."""
    return ACTIONS.get(code, UNKNOWN)
