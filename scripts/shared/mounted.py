"""Whether a file that a process has open is one of the mount that is there now."""

import os


def is_on_mount(path):
    """Whether a database that this process has open is one of the mount that is there now.

    Where nothing is mounted, the directory below can be written all the same; and what was opened
    through a mount whose node was killed can still be read with passthrough, without any lock.
    """
    directory = os.path.dirname(path)
    try:
        if not os.path.ismount(directory):
            return False
        device = os.stat(directory).st_dev
        for number in os.listdir("/proc/self/fd"):
            link = f"/proc/self/fd/{number}"
            if os.readlink(link) == path and os.stat(link).st_dev == device:
                return True
    except OSError:
        pass
    return False
