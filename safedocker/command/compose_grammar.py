"""The commands of Compose (v2, v5, and v1 of old) and of buildx, in the notation of grammar.py.

Compose 2.26 and 2.40, buildx 0.13 and 0.29 and Compose 1.29.2 were asked; 5.5 was read:
docker/compose v5.5.0, cmd/compose/*.go.
"""

COMPOSE = {
    "compose": (
        "* ! | all-resources@2.40 ansi= compatibility env-file= file/f= insecure-registry=@5.5 "
        "no-ansi parallel=# profile= progress= project-directory= project-name/p= verbose "
        "version/v workdir="
    ),
    "compose alpha": "*",
    "compose alpha generate": "- @2.40 | format= name= project-dir=",
    "compose alpha publish": (
        "1 | app@2.40 insecure-registry@5.5 oci-version= resolve-image-digests with-env@2.40 "
        "yes/y@2.40 y~yes@2.40"
    ),
    "compose alpha viz": "- | image indentation-size=# networks ports spaces",
    "compose attach": "1- | detach-keys= index=# no-stdin sig-proxy",
    "compose bridge": "* @2.40",
    "compose bridge convert": "- @2.40 | output/o= templates= transformation/t=",
    "compose bridge transformations": "* @2.40",
    "compose bridge transformations create": "- @2.40 | from/f=",
    "compose bridge transformations list": "- @2.40 | format= quiet/q",
    "compose build": (
        "- | build-arg= builder= check@2.40 compress force-rm memory/m= no-cache no-rm parallel "
        "print@2.40 progress= provenance=@2.40 pull push quiet/q sbom=@2.40 ssh= with-dependencies"
    ),
    "compose commit": "1-2 @2.40 | author/a= change/c= index=# message/m= pause/p",
    "compose config": (
        "- | environment@2.40 format= hash= images lock-image-digests@2.40 models@2.40 "
        "networks@2.40 no-consistency no-env-resolution@2.40 no-interpolate no-normalize "
        "no-path-resolution output/o= profiles quiet/q resolve-image-digests services variables "
        "volumes"
    ),
    "compose cp": "2 | all archive/a follow-link/L index=#",
    "compose create": (
        "- | build force-recreate no-build no-recreate pull= quiet-pull remove-orphans scale= "
        "yes/y@2.40 y~yes@2.40"
    ),
    "compose docker-cli-plugin-hooks": "- @5.5",
    "compose down": "- | remove-orphans rmi=all|local timeout/t=# volumes/v volume~volumes",
    "compose events": "- | json since=@2.40 until=@2.40",
    "compose exec": (
        "2- ! | detach/d env/e= index=# interactive/i no-TTY/T~no-tty@-2.26 no-TTY~no-tty@2.40 "
        "no-tty/T@2.40 privileged tty/t user/u= workdir/w="
    ),
    "compose export": "1- @2.40 | index=# output/o=",
    "compose images": "- | format= quiet/q",
    "compose kill": "- | remove-orphans signal/s=",
    "compose logs": (
        "- | follow/f index=# no-color no-log-prefix since= tail/n= timestamps/t until="
    ),
    "compose ls": "0 | all/a filter= format= quiet/q",
    "compose pause": "-",
    "compose port": "2- | index=# protocol=",
    "compose ps": "- | all/a filter= format= no-trunc orphans quiet/q services status=",
    "compose publish": (
        "1 @2.40 | app insecure-registry@5.5 oci-version= resolve-image-digests with-env yes/y "
        "y~yes"
    ),
    "compose pull": (
        "- | ignore-buildable ignore-pull-failures include-deps no-parallel parallel policy= "
        "quiet/q"
    ),
    "compose push": "- | ignore-push-failures include-deps quiet/q",
    "compose restart": "- | no-deps timeout/t=#",
    "compose rm": "- | all/a force/f stop/s volumes/v",
    "compose run": (
        "1- ! | build cap-add= cap-drop= detach/d entrypoint= env-from-file=@2.40 env/e= "
        "interactive/i label/l= labels=~label name= no-TTY/T~no-tty@-2.40 no-TTY~no-tty@5.5 "
        "no-deps no-tty/T@5.5 publish/p= pull=@2.40 quiet-build@2.40 quiet-pull quiet/q@2.40 "
        "remove-orphans rm service-ports/P tty/t use-aliases user/u= volume/v= volumes=~volume "
        "workdir/w="
    ),
    "compose scale": "1- | no-deps",
    "compose start": "- | wait-timeout=#@5.5 wait@5.5",
    "compose stats": "0-1 | all/a format= no-stream no-trunc",
    "compose stop": "- | timeout/t=#",
    "compose top": "-",
    "compose unpause": "-",
    "compose up": (
        "- | abort-on-container-exit abort-on-container-failure@2.40 always-recreate-deps "
        "attach-dependencies attach= build detach/d exit-code-from= force-recreate menu no-attach= "
        "no-build no-color no-deps no-log-prefix no-recreate no-start pull= quiet-build@2.40 "
        "quiet-pull remove-orphans renew-anon-volumes/V scale= timeout/t=# timestamps wait "
        "wait-timeout=# watch/w yes/y@2.40 y~yes@2.40"
    ),
    "compose version": "0 | format/f= short",
    "compose volumes": "- @2.40 | format= quiet/q",
    "compose wait": "1- | down-project",
    "compose watch": "- | no-up prune@2.40 quiet",
}

BUILDX = {
    "buildx": "*",
    "buildx bake": (
        "- | allow=@0.29 call=@0.29 check@0.29 file/f= list=@0.29 load metadata-file= no-cache "
        "print progress= provenance= pull push sbom= set="
    ),
    "buildx build": (
        "1 | add-host= allow= annotation= attest= build-arg= build-context= cache-from= cache-to= "
        "call=@0.29 cgroup-parent= check@0.29 file/f= iidfile= label= load metadata-file= network= "
        "no-cache no-cache-filter= output/o= platform= progress= provenance= pull push quiet/q "
        "sbom= secret= shm-size= ssh= tag/t= target= ulimit="
    ),
    "buildx create": (
        "0-1 | append bootstrap buildkitd-config= buildkitd-flags= driver-opt= driver= leave name= "
        "node= platform= use"
    ),
    "buildx dial-stdio": "0 | platform= progress=",
    "buildx du": "0 | filter= format=@0.29 verbose",
    "buildx history": "* @0.29",
    "buildx history export": "- @0.29 | all finalize output/o=",
    "buildx history import": "0 @0.29 | file/f=",
    # A command too: words that name none below it are its operands, and a doubt here.
    "buildx history inspect": "* @0.29 | format=",
    "buildx history inspect attachment": "0-2 @0.29 | platform= type=",
    "buildx history logs": "0-1 @0.29 | progress=",
    "buildx history ls": "0 @0.29 | filter= format= local no-trunc",
    "buildx history open": "0-1 @0.29",
    "buildx history rm": "1- @0.29 | all",
    "buildx imagetools": "*",
    "buildx imagetools create": (
        "- | annotation= append dry-run file/f= platform/p=@0.29 prefer-index@0.29 progress= tag/t="
    ),
    "buildx imagetools inspect": "1 | format= raw",
    "buildx inspect": "0-1 | bootstrap",
    "buildx ls": "0 | format= no-trunc@0.29",
    "buildx prune": (
        "0 | all/a filter= force/f keep-storage= max-used-space=@0.29 min-free-space=@0.29 "
        "reserved-space=@0.29 verbose"
    ),
    "buildx rm": "- | all-inactive force/f keep-daemon keep-state",
    "buildx stop": "0-1",
    "buildx use": "0-1 | default global",
    "buildx version": "0",
}

ALIASES = {
    "buildx b": "buildx build",
    "buildx f": "buildx bake",
    "compose bridge transformations ls": "compose bridge transformations list @2.40",
    "compose convert": "compose config @-2.26",
}

# Compose v1 reads by docopt 0.6.2: options end at the first operand everywhere, an unambiguous
# beginning of a long name will do, and an option may come twice only where it has a `*` (else it
# is a usage error). `--` after the operand count: a leading -- is let through.
# An entry "/v~volumes" has no long name; a Command says `volumes`, as v2 does.
# Source: the docstrings of compose/cli/main.py 1.29.2.
V1 = {
    "": (
        "- -- | file/f=* project-name/p= profile=* context/c= verbose log-level= ansi= no-ansi "
        "version/v host/H= tls tlscacert= tlscert= tlskey= tlsverify skip-hostname-check "
        "project-directory= compatibility env-file="
    ),
    "build": (
        "- -- | build-arg=* compress force-rm memory/m= no-cache no-rm parallel progress= pull "
        "quiet/q"
    ),
    "config": "0 | resolve-image-digests no-interpolate quiet/q profiles services volumes hash=",
    "create": "- | force-recreate no-recreate no-build build",
    "down": "0 | rmi= volumes/v remove-orphans timeout/t=",
    "events": "- -- | json",
    "exec": "2- -- | detach/d privileged user/u= /T~no-tty index= env/e=* workdir/w=",
    "help": "0-1",
    "images": "- -- | quiet/q",
    "kill": "- -- | /s=~signal",
    "logs": "- -- | no-color follow/f timestamps/t tail= no-log-prefix",
    "pause": "-",
    "port": "2 -- | protocol= index=",
    "ps": "- -- | quiet/q services filter= all/a",
    "pull": "- -- | ignore-pull-failures parallel no-parallel quiet/q include-deps",
    "push": "- -- | ignore-push-failures",
    "restart": "- -- | timeout/t=",
    "rm": "- -- | force/f stop/s /v~volumes all/a",
    "run": (
        "1- -- | detach/d name= entrypoint= /e=*~env label/l=* user/u= no-deps rm publish/p=* "
        "service-ports use-aliases volume/v=* /T~no-tty workdir/w="
    ),
    "scale": "- | timeout/t=",
    "start": "-",
    "stop": "- -- | timeout/t=",
    "top": "-",
    "unpause": "-",
    "up": (
        "- -- | detach/d abort-on-container-exit. no-color quiet-pull no-deps force-recreate "
        "always-recreate-deps no-recreate no-build no-start build abort-on-container-exit "
        "attach-dependencies timeout/t= renew-anon-volumes/V remove-orphans exit-code-from= "
        "scale=* no-log-prefix"
    ),
    "version": "0 | short",
}
