"""The command line: finds the command, runs it, and says in one line what went wrong."""

import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType

EXAMPLES = """Clean pictures from damaged ones, without being told what the damage is.

Try it:
  mimicgan demo                                  damages shipped pictures, restores them blind
  mimicgan corrupt sample damaged --kind dropped
  mimicgan restore damaged restored              your own folder, pattern or .npy works as well

`mimicgan COMMAND --help` tells more, with examples.
"""
MISTAKE = 2
INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code: 0, 2 after a user's mistake, 130 when interrupted."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    previous = {signal.SIGTERM: signal.signal(signal.SIGTERM, _interrupt)}
    # A terminal that is closed hangs up; nohup has that ignored, and it stays so.
    hang_up = getattr(signal, "SIGHUP", None)
    if hang_up is not None and signal.getsignal(hang_up) != signal.SIG_IGN:
        previous[hang_up] = signal.signal(hang_up, _terminate)
    remedy = "nothing was written"
    try:
        from mimicgan import __version__

        if arguments[:1] == ["--version"]:
            sys.stdout.write(f"mimicgan {__version__}\n")
            return 0
        # Imported here, so that Ctrl-C is answered in one line from early on.
        from mimicgan.commands.registry import parse
        from mimicgan.errors import UserError

        try:
            command = parse(arguments, EXAMPLES)
            remedy = command.after_interrupt
            command.run()
        except (UserError, ValueError) as error:
            return _fail(str(error))
        except BrokenPipeError:
            raise
        except OSError as error:
            # Only errors that the system gave: others are faults of this program.
            if error.errno is None:
                raise
            where = f"{error.filename}: " if error.filename else ""
            return _fail(f"{where}{error.strerror}; check the path and the space on the disk")
    except BrokenPipeError:
        # The reader (say `head`) has had enough; the interpreter's own flush must not fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return INTERRUPTED
    except KeyboardInterrupt:
        # Where it struck inside exec (a dataclass in an import), `python -m` would take it for not
        # caught and die of a signal in the end; the next exec takes that mark away.
        exec("")
        sys.stderr.write(f"mimicgan: interrupted; {remedy}\n")
        return INTERRUPTED
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    return 0


def _fail(message: str) -> int:
    line = " ".join(message.split())
    sys.stderr.write(f"mimicgan: error: {line}\n")
    return MISTAKE


def _interrupt(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
    raise KeyboardInterrupt


def _terminate(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
    # As the signal that a server answers in its own way.
    signal.raise_signal(signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
