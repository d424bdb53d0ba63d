# docker and docker-compose as functions that go through safedocker's shims, for fish.
# What is typed in the shell that reads this is guarded; what finds docker on PATH by itself is not:
# scripts, xargs, make, sudo.
# >>> safedocker install wrote these lines >>>
set -g safedocker_shims ''
# <<< safedocker install wrote these lines <<<

if test -x "$safedocker_shims/docker"
    function docker --wraps docker
        "$safedocker_shims/docker" $argv
    end
    function docker-compose --wraps docker-compose
        "$safedocker_shims/docker-compose" $argv
    end
else
    set -e safedocker_shims
    echo "safedocker: its shims are gone, so docker is not guarded here: safedocker install --functions" >&2
end
