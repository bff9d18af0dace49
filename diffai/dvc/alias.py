"""The shell function that lets ``dvc diff`` itself show tensors, for ``eval "$(diffai dvc alias)"``.

Only ``dvc diff`` for people is redirected. Every other command, and ``dvc diff`` with ``--json``, ``--md``, ``-q`` or
``--help``, goes to the real program with its arguments untouched, so that scripts see what they always saw.
"""

from __future__ import annotations

import os
import shlex

from diffai.errors import UsageError

SHELLS = ("bash", "zsh", "fish")

_POSIX = """\
# diffai: dvc diff shows what changed in models. Undo: unset -f dvc
dvc() {{
  local diffai_word diffai_next= diffai_seen=
  for diffai_word in "$@"; do
    if [ -n "$diffai_next" ]; then diffai_next=; continue; fi
    case $diffai_word in
      --cd) [ -n "$diffai_seen" ] || diffai_next=1 ;;
      diff) diffai_seen=${{diffai_seen:-diff}} ;;
      --json|--md|-q|--quiet|-h|--help) diffai_seen=other; break ;;
      -*) ;;
      *) [ -n "$diffai_seen" ] || diffai_seen=other ;;
    esac
  done
  if [ "$diffai_seen" = diff ] && [ -x {program} ]; then
    {program} dvc "$@" && return
    diffai_word=$?
    [ "$diffai_word" -eq 2 ] || return "$diffai_word"
    echo "diffai: that is not understood here; what dvc itself says:" >&2
  fi
  command dvc "$@"
}}
"""

_FISH = """\
# diffai: dvc diff shows what changed in models. Undo: functions --erase dvc
function dvc --wraps dvc
    set -l diffai_seen
    set -l diffai_next
    for diffai_word in $argv
        if test -n "$diffai_next"
            set diffai_next
            continue
        end
        switch $diffai_word
            case --cd
                test -n "$diffai_seen"; or set diffai_next 1
            case diff
                test -n "$diffai_seen"; or set diffai_seen diff
            case --json --md -q --quiet -h --help
                set diffai_seen other
                break
            case '-*'
            case '*'
                test -n "$diffai_seen"; or set diffai_seen other
        end
    end
    if test "$diffai_seen" = diff; and test -x {program}
        {program} dvc $argv
        set -l diffai_status $status
        test $diffai_status -eq 2; or return $diffai_status
        echo "diffai: that is not understood here; what dvc itself says:" >&2
    end
    command dvc $argv
end
"""


def alias_script(shell: str, program: str) -> str:
    """The function in the language of a shell.

    Args:
        shell: ``bash``, ``zsh`` or ``fish``; "" guesses from ``SHELL``.
        program: absolute path of the ``diffai`` program.

    Raises:
        UsageError: the shell is another one.
    """
    name = shell or os.path.basename(os.environ.get("SHELL", "bash"))
    if name not in SHELLS:
        if shell:
            raise UsageError(f"{shell}: known shells are {', '.join(SHELLS)}")
        name = "bash"
    quoted = shlex.quote(program) if name != "fish" else "'" + program.replace("\\", "\\\\").replace("'", "\\'") + "'"
    return (_FISH if name == "fish" else _POSIX).format(program=quoted)
