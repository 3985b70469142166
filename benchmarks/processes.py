"""The processes of a server: those of its session, and those descended from them that went into one of their own."""

from pathlib import Path

_PROC = Path("/proc")


def processes_of(session: int) -> set[int]:
    """The ids of all processes of a server, by the id of the session that it was started in."""
    parents, found = {}, {session}
    for folder in _PROC.glob("[0-9]*"):
        try:
            # The name in parentheses may hold anything; after it come the state, the parent, the group, the session.
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:  # it has just ended
            continue
        parents[int(folder.name)] = int(fields[1])
        if int(fields[3]) == session:
            found.add(int(folder.name))
    while more := {process for process, parent in parents.items() if parent in found} - found:
        found |= more
    return found & parents.keys()
