"""The text of the hooks, POSIX sh. The files in ``hooks/`` are the same scripts for a diffai found on PATH.

git runs a hook at the top of the work tree, with GIT_DIR and GIT_INDEX_FILE set where they matter; all that is passed
on to ``diffai gate``, which asks git. A pre-push hook gets one line a pushed ref on standard input.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Literal

from diffai.git.command import ISOLATED, quote

Name = Literal["pre-commit", "pre-push"]
HOOKS: tuple[Name, ...] = ("pre-commit", "pre-push")
MARK = "# diffai hook, version 1;"

_HEAD = """\
# Written by: diffai install --hook {hook}. What stood here before is {hook}.before-diffai, and runs as well.
# diffai uninstall restores it. To pass the gate once: DIFFAI_GATE=off git {verb} ...
diffai={program}
here=${{0%/*}}

run() {{
    {start} "$@"
}}

gone() {{
    echo "diffai: the gate did not run, because diffai is gone ($diffai)" >&2
    echo "diffai: install it again, or take the hook out: diffai uninstall, or delete $here/{hook}" >&2
    {gone}
}}
"""

# What stands here in a terminal's place must be looked at first: a foreign hook may still change what is staged.
_PRE_COMMIT = """
if [ -x "$here/pre-commit.before-diffai" ]; then
    "$here/pre-commit.before-diffai" "$@" || exit
fi
command -v "$diffai" >/dev/null || { gone; exit; }
run gate --hook pre-commit
status=$?
case $status in 126 | 127) gone; exit ;; esac
exit $status
"""

# The gate comes first, so that a refused push uploads nothing (git lfs and dvc upload in their pre-push hooks).
_PRE_PUSH = """
refs=$(cat)
while read -r local_ref local_oid remote_ref remote_oid; do
    case $local_oid in *[!0]*) ;; *) continue ;; esac # a branch is deleted
    case $local_ref in refs/tags/*) continue ;; esac
    command -v "$diffai" >/dev/null || { gone || exit; break; }
    run gate --hook pre-push --remote "$1" --base "$remote_oid" --head "$local_oid" </dev/null
    status=$?
    case $status in 0) ;; 126 | 127) gone || exit; break ;; *) exit $status ;; esac
done <<REFS
$refs
REFS
if [ -x "$here/pre-push.before-diffai" ]; then
    printf '%s' "${refs:+$refs
}" | "$here/pre-push.before-diffai" "$@"
    exit
fi
exit 0
"""


def hook_script(hook: Name, program: str = "", interpreter: str = "", *, strict: bool = False) -> str:
    """The whole file.

    Args:
        hook: which.
        program: absolute path of the program; "" = the one on PATH.
        interpreter: absolute path of its Python, which is then started without ``PYTHONPATH`` and the like; "" = as
            the program itself says.
        strict: block when the program is gone.
    """
    head = _HEAD.format(
        hook=hook,
        verb="commit" if hook == "pre-commit" else "push",
        program=quote(program) if program else "diffai",
        start=f'{quote(interpreter)} {ISOLATED} "$diffai"' if interpreter else '"$diffai"',
        gone="return 1" if strict else "return 0",
    )
    body = head + (_PRE_COMMIT if hook == "pre-commit" else _PRE_PUSH)
    digest = sha256(body.encode("utf-8", "surrogateescape")).hexdigest()
    return f"#!/bin/sh\n{MARK} sha256 of the lines below: {digest}\n{body}"
