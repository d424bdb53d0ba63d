# shellcheck shell=sh
# docker and docker-compose as functions that go through safedocker's shims, for bash, zsh and sh.
# What is typed in the shell that reads this is guarded; what finds docker on PATH by itself is not:
# scripts, xargs, make, sudo.
# >>> safedocker install wrote these lines >>>
safedocker_shims=''
# <<< safedocker install wrote these lines <<<

# An alias would be put in the place of the function's name where that is read: it is left alone.
# `eval` reads the rest only once it is known that there is none.
if ! [ -x "$safedocker_shims/docker" ]; then
  unset safedocker_shims
  printf '%s\n' "safedocker: its shims are gone, so docker is not guarded here: safedocker install --functions" >&2
else
  if alias docker >/dev/null 2>&1; then
    printf '%s\n' "safedocker: docker is an alias in this shell and is left alone: what it runs is not guarded" >&2
  else
    eval 'docker() { "$safedocker_shims/docker" "$@"; }'
  fi
  if alias docker-compose >/dev/null 2>&1; then
    printf '%s\n' "safedocker: docker-compose is an alias in this shell and is left alone: what it runs is not guarded" >&2
  else
    # dash knows no function whose name has a hyphen
    case ${BASH_VERSION-}${ZSH_VERSION-} in
      ?*) eval 'docker-compose() { "$safedocker_shims/docker-compose" "$@"; }' ;;
      *) alias docker-compose='"$safedocker_shims/docker-compose"' ;;
    esac
  fi
fi
