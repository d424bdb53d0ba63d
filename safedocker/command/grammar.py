"""Docker's commands, aliases and options as data: what a client understands, not what it does.

One entry a command, "OPERANDS [!] [@VERSIONS] | OPTIONS". Only the entry in question is read.

OPERANDS  0, 2, 1-2: so many; 1-: at least one; -: any number; *: a group, needs a command of its
          own; raw: the words are not read at all
!         options end at the first operand
OPTIONS   name/s      a switch, with its short form
          name=       takes a value; name=# a whole number, name=a|b one of these
          name~other  another spelling of `other`; a Command says `other`
@VERSIONS @26 since that client, @-26 up to it, @26-28 from one to the other; none: every client
          that has the command

Docker 20.10, 26.1 and 28.5 were asked (help, and a try of each option and operand count);
29.7 was read: docker/cli v29.7.2, cli/command/*/*.go. Compose and buildx: compose_grammar.py.
"""

# The clients in the tables, and the number that stands for each in a version mark.
DOCKER_COLUMNS = (((20, 10), 20.0), ((26, 1), 26.0), ((28, 5), 28.0), ((29, 7), 29.0))
COMPOSE_COLUMNS = (((2, 26), 2.26), ((2, 40), 2.40), ((5, 5), 5.5))

ROOT = (
    " config= context/c= debug/D host/H= log-level/l= tls tlscacert= tlscert= tlskey= tlsverify"
    " version/v"
)

# Options that the commands below a word take as well; "" is docker itself.
PERSISTENT = {
    "": " help/h",
    "buildx": " builder= debug/D@0.29",
    "compose": " dry-run",
    "stack": " orchestrator= kubeconfig=@-20",
}

# The words that are programs of their own: docker only passes its arguments on.
PLUGINS = ("buildx", "compose")

# Where `help` stands in a list of its own, -h is something else (--hostname), and a --help before
# the command is not heard: `docker --help run x` runs x (seen with 20.10, 26.1 and 28.5).
DOCKER = {
    "builder": "*",
    "builder prune": "0 | all/a filter= force/f keep-storage=",
    "checkpoint": "*",
    "checkpoint create": "2 | checkpoint-dir= leave-running",
    "checkpoint ls": "1 | checkpoint-dir=",
    "checkpoint rm": "2 | checkpoint-dir=",
    "config": "*",
    "config create": "2 | label/l= template-driver=",
    "config inspect": "1- | format/f= pretty",
    "config ls": "0 | filter/f= format= quiet/q",
    "config rm": "1-",
    "container": "*",
    "container attach": "1 | detach-keys= no-stdin sig-proxy",
    "container commit": "1-2 ! | author/a= change/c= message/m= no-pause@29 pause/p",
    "container cp": "2 | archive/a follow-link/L quiet/q@26",
    "container create": (
        "1- ! | add-host= annotation=@26 attach/a= blkio-weight-device= blkio-weight=# cap-add= "
        "cap-drop= cgroup-parent= cgroupns= cidfile= cpu-count=# cpu-percent=# cpu-period=# "
        "cpu-quota=# cpu-rt-period=# cpu-rt-runtime=# cpu-shares/c=# cpus= cpuset-cpus= "
        "cpuset-mems= device-cgroup-rule= device-read-bps= device-read-iops= device-write-bps= "
        "device-write-iops= device= disable-content-trust dns-opt=~dns-option dns-option= "
        "dns-search= dns= domainname= entrypoint= env-file= env/e= expose= gpus= group-add= "
        "health-cmd= health-interval= health-retries=# health-start-interval=@26 "
        "health-start-period= health-timeout= help hostname/h= init interactive/i io-maxbandwidth= "
        "io-maxiops=# ip6= ip= ipc= isolation= kernel-memory= label-file= label/l= link-local-ip= "
        "link= log-driver= log-opt= mac-address= memory-reservation= memory-swap= "
        "memory-swappiness=# memory/m= mount= name= net-alias=~network-alias net=~network "
        "network-alias= network= no-healthcheck oom-kill-disable oom-score-adj=# pid= pids-limit=# "
        "platform= privileged publish-all/P publish/p= pull= quiet/q@26 read-only restart= rm "
        "runtime= security-opt= shm-size= stop-signal= stop-timeout=# storage-opt= sysctl= tmpfs= "
        "tty/t ulimit= use-api-socket@28 user/u= userns= uts= volume-driver= volume/v= "
        "volumes-from= workdir/w="
    ),
    "container diff": "1",
    "container exec": (
        "2- ! | detach-keys= detach/d env-file= env/e= interactive/i privileged tty/t user/u= "
        "workdir/w="
    ),
    "container export": "1 | output/o=",
    "container inspect": "1- | format/f= size/s",
    "container kill": "1- | signal/s=",
    "container logs": "1 | details follow/f since= tail/n= timestamps/t until=",
    "container ls": "0 | all/a filter/f= format= last/n=# latest/l no-trunc quiet/q size/s",
    "container pause": "1-",
    "container port": "1-2",
    "container prune": "0 | filter= force/f",
    "container rename": "2",
    "container restart": "1- | signal/s=@26 time/t=#~timeout@-26 time=#~timeout@28 timeout/t=#@28",
    "container rm": "1- | force/f link/l volumes/v",
    "container run": (
        "1- ! | add-host= annotation=@26 attach/a= blkio-weight-device= blkio-weight=# cap-add= "
        "cap-drop= cgroup-parent= cgroupns= cidfile= cpu-count=# cpu-percent=# cpu-period=# "
        "cpu-quota=# cpu-rt-period=# cpu-rt-runtime=# cpu-shares/c=# cpus= cpuset-cpus= "
        "cpuset-mems= detach-keys= detach/d device-cgroup-rule= device-read-bps= device-read-iops= "
        "device-write-bps= device-write-iops= device= disable-content-trust dns-opt=~dns-option "
        "dns-option= dns-search= dns= domainname= entrypoint= env-file= env/e= expose= gpus= "
        "group-add= health-cmd= health-interval= health-retries=# health-start-interval=@26 "
        "health-start-period= health-timeout= help hostname/h= init interactive/i io-maxbandwidth= "
        "io-maxiops=# ip6= ip= ipc= isolation= kernel-memory= label-file= label/l= link-local-ip= "
        "link= log-driver= log-opt= mac-address= memory-reservation= memory-swap= "
        "memory-swappiness=# memory/m= mount= name= net-alias=~network-alias net=~network "
        "network-alias= network= no-healthcheck oom-kill-disable oom-score-adj=# pid= pids-limit=# "
        "platform= privileged publish-all/P publish/p= pull= quiet/q@26 read-only restart= rm "
        "runtime= security-opt= shm-size= sig-proxy stop-signal= stop-timeout=# storage-opt= "
        "sysctl= tmpfs= tty/t ulimit= use-api-socket@28 user/u= userns= uts= volume-driver= "
        "volume/v= volumes-from= workdir/w="
    ),
    "container start": "1- | attach/a checkpoint-dir= checkpoint= detach-keys= interactive/i",
    "container stats": "- | all/a format= no-stream no-trunc",
    "container stop": "1- | signal/s=@26 time/t=#~timeout@-26 time=#~timeout@28 timeout/t=#@28",
    "container top": "1- !",
    "container unpause": "1-",
    "container update": (
        "1- | blkio-weight=# cpu-period=# cpu-quota=# cpu-rt-period=# cpu-rt-runtime=# "
        "cpu-shares/c=# cpus= cpuset-cpus= cpuset-mems= kernel-memory= memory-reservation= "
        "memory-swap= memory/m= pids-limit=# restart="
    ),
    "container wait": "1-",
    "context": "*",
    "context create": (
        "1 | default-stack-orchestrator=@-20 description= docker= from= kubernetes=@-20"
    ),
    "context export": "1-2 | kubeconfig@-20",
    "context import": "2",
    "context inspect": "- | format/f=",
    "context ls": "0 | format= quiet/q",
    "context rm": "1- | force/f",
    "context show": "0 @26",
    "context update": "1 | default-stack-orchestrator=@-20 description= docker= kubernetes=@-20",
    "context use": "1",
    "image": "*",
    "image build": (
        "1 | add-host= build-arg= cache-from= cgroup-parent= compress cpu-period=# cpu-quota=# "
        "cpu-shares/c=# cpuset-cpus= cpuset-mems= disable-content-trust file/f= force-rm iidfile= "
        "isolation= label= memory-swap= memory/m= network= no-cache output=@-20 platform= "
        "progress=@-20 pull quiet/q rm secret=@-20 security-opt= shm-size= squash ssh=@-20 "
        "stream@-20 tag/t= target= ulimit="
    ),
    "image history": "1 | format= human/H no-trunc platform=@28 quiet/q",
    "image import": "1- | change/c= message/m= platform=",
    "image inspect": "1- | format/f= platform=@28",
    "image load": "0 | input/i= platform=@28 quiet/q",
    "image ls": "0-1 | all/a digests filter/f= format= no-trunc quiet/q tree@28",
    "image prune": "0 | all/a filter= force/f",
    "image pull": "1 | all-tags/a disable-content-trust platform= quiet/q",
    "image push": "1 | all-tags/a disable-content-trust platform=@28 quiet/q",
    "image rm": "1- | force/f no-prune platform=@28",
    "image save": "1- | output/o= platform=@28",
    "image tag": "2 !",
    "inspect": "1- | format/f= size/s type=",
    "login": "0-1 | password-stdin password/p= username/u=",
    "logout": "0-1",
    "manifest": "*",
    "manifest annotate": "2 | arch= os-features= os-version= os= variant=",
    "manifest create": "2- | amend/a insecure",
    "manifest inspect": "1-2 | insecure verbose/v",
    "manifest push": "1 | insecure purge/p",
    "manifest rm": "1-",
    "network": "*",
    "network connect": "2 | alias= driver-opt= gw-priority=#@28 ip6= ip= link-local-ip= link=",
    "network create": (
        "1 | attachable aux-address= config-from= config-only driver/d= gateway= ingress internal "
        "ip-range= ipam-driver= ipam-opt= ipv4@28 ipv6 label= opt/o= scope= subnet="
    ),
    "network disconnect": "2 | force/f",
    "network inspect": "1- | format/f= verbose/v",
    "network ls": "0 | filter/f= format= no-trunc quiet/q",
    "network prune": "0 | filter= force/f",
    "network rm": "1- | force/f@26",
    "node": "*",
    "node demote": "1-",
    "node inspect": "1- | format/f= pretty",
    "node ls": "0 | filter/f= format= quiet/q",
    "node promote": "1-",
    "node ps": "- | filter/f= format= no-resolve no-trunc quiet/q",
    "node rm": "1- | force/f",
    "node update": "1 | availability= label-add= label-rm= role=",
    "plugin": "*",
    "plugin create": "2- | compress",
    "plugin disable": "1 | force/f",
    "plugin enable": "1 | timeout=#",
    "plugin inspect": "1- | format/f=",
    "plugin install": "1- | alias= disable disable-content-trust grant-all-permissions",
    "plugin ls": "0 | filter/f= format= no-trunc quiet/q",
    "plugin push": "1 | disable-content-trust",
    "plugin rm": "1- | force/f",
    "plugin set": "2-",
    "plugin upgrade": "1-2 | disable-content-trust grant-all-permissions skip-remote-check",
    "search": "1 | filter/f= format= limit=# no-trunc",
    "secret": "*",
    "secret create": "1-2 | driver/d= label/l= template-driver=",
    "secret inspect": "1- | format/f= pretty",
    "secret ls": "0 | filter/f= format= quiet/q",
    "secret rm": "1-",
    "service": "*",
    "service create": (
        "1- ! | cap-add= cap-drop= config= constraint= container-label= credential-spec= detach/d "
        "dns-option= dns-search= dns= endpoint-mode= entrypoint= env-file= env/e= "
        "generic-resource= group= health-cmd= health-interval= health-retries=# "
        "health-start-interval=@26 health-start-period= health-timeout= help host= hostname= init "
        "isolation= label/l= limit-cpu= limit-memory= limit-pids=# log-driver= log-opt= "
        "max-concurrent=# memory-swap=@29 memory-swappiness=#@29 mode= mount= name= network= "
        "no-healthcheck no-resolve-image oom-score-adj=#@28 placement-pref= publish/p= quiet/q "
        "read-only replicas-max-per-node=# replicas=# reserve-cpu= reserve-memory= "
        "restart-condition= restart-delay= restart-max-attempts=# restart-window= rollback-delay= "
        "rollback-failure-action= rollback-max-failure-ratio= rollback-monitor= rollback-order= "
        "rollback-parallelism=# secret= stop-grace-period= stop-signal= sysctl= tty/t ulimit= "
        "update-delay= update-failure-action= update-max-failure-ratio= update-monitor= "
        "update-order= update-parallelism=# user/u= with-registry-auth workdir/w="
    ),
    "service inspect": "1- | format/f= pretty",
    "service logs": (
        "1 | details follow/f no-resolve no-task-ids no-trunc raw since= tail/n= timestamps/t"
    ),
    "service ls": "0 | filter/f= format= quiet/q",
    "service ps": "1- | filter/f= format= no-resolve no-trunc quiet/q",
    "service rm": "1-",
    "service rollback": "1 | detach/d quiet/q",
    "service scale": "1- | detach/d",
    "service update": (
        "1 | args= cap-add= cap-drop= config-add= config-rm= constraint-add= constraint-rm= "
        "container-label-add= container-label-rm= credential-spec= detach/d dns-add= "
        "dns-option-add= dns-option-rm= dns-rm= dns-search-add= dns-search-rm= endpoint-mode= "
        "entrypoint= env-add= env-rm= force generic-resource-add= generic-resource-rm= group-add= "
        "group-rm= health-cmd= health-interval= health-retries=# health-start-interval=@26 "
        "health-start-period= health-timeout= host-add= host-rm= hostname= image= init isolation= "
        "label-add= label-rm= limit-cpu= limit-memory= limit-pids=# log-driver= log-opt= "
        "max-concurrent=# memory-swap=@29 memory-swappiness=#@29 mount-add= mount-rm= network-add= "
        "network-rm= no-healthcheck no-resolve-image oom-score-adj=#@28 placement-pref-add= "
        "placement-pref-rm= publish-add= publish-rm= quiet/q read-only replicas-max-per-node=# "
        "replicas=# reserve-cpu= reserve-memory= restart-condition= restart-delay= "
        "restart-max-attempts=# restart-window= rollback rollback-delay= rollback-failure-action= "
        "rollback-max-failure-ratio= rollback-monitor= rollback-order= rollback-parallelism=# "
        "secret-add= secret-rm= stop-grace-period= stop-signal= sysctl-add= sysctl-rm= tty/t "
        "ulimit-add= ulimit-rm= update-delay= update-failure-action= update-max-failure-ratio= "
        "update-monitor= update-order= update-parallelism=# user/u= with-registry-auth workdir/w="
    ),
    "stack": "*",
    "stack config": "0 @26 | compose-file/c= skip-interpolation",
    "stack deploy": (
        "1 | compose-file/c= detach/d@26 namespace=@-20 prune quiet/q@26 resolve-image= "
        "with-registry-auth"
    ),
    "stack ls": "0 | format= namespace=@-20",
    "stack ps": "1 | filter/f= format= namespace=@-20 no-resolve no-trunc quiet/q",
    "stack rm": "1- | detach/d@26 namespace=@-20",
    "stack services": "1 | filter/f= format= namespace=@-20 quiet/q",
    "swarm": "*",
    "swarm ca": "0 | ca-cert= ca-key= cert-expiry= detach/d external-ca= quiet/q rotate",
    "swarm init": (
        "0 | advertise-addr= autolock availability= cert-expiry= data-path-addr= data-path-port=# "
        "default-addr-pool-mask-length=# default-addr-pool= dispatcher-heartbeat= external-ca= "
        "force-new-cluster listen-addr= max-snapshots=# snapshot-interval=# task-history-limit=#"
    ),
    "swarm join": "1 | advertise-addr= availability= data-path-addr= listen-addr= token=",
    "swarm join-token": "1 | quiet/q rotate",
    "swarm leave": "0 | force/f",
    "swarm unlock": "0",
    "swarm unlock-key": "0 | quiet/q rotate",
    "swarm update": (
        "0 | autolock cert-expiry= dispatcher-heartbeat= external-ca= max-snapshots=# "
        "snapshot-interval=# task-history-limit=#"
    ),
    "system": "*",
    "system df": "0 | format= verbose/v",
    "system dial-stdio": "0",
    "system events": "0 | filter/f= format= since= until=",
    "system info": "0 | format/f=",
    "system prune": "0 | all/a filter= force/f volumes",
    "trust": "* @-28",
    "trust inspect": "1- @-28 | pretty",
    "trust key": "* @-28",
    "trust key generate": "1 @-28 | dir=",
    "trust key load": "1 @-28 | name=",
    "trust revoke": "1 @-28 | yes/y",
    "trust sign": "1 @-28 | local",
    "trust signer": "* @-28",
    "trust signer add": "2- @-28 | key=",
    "trust signer remove": "2- @-28 | force/f",
    "version": "0 | format/f= kubeconfig=@-20",
    "volume": "*",
    "volume create": (
        "0-1 | availability=@26 driver/d= group=@26 label= limit-bytes=@26 name= opt/o= "
        "required-bytes=@26 scope=@26 secret=@26 sharing=@26 topology-preferred=@26 "
        "topology-required=@26 type=@26"
    ),
    "volume inspect": "1- | format/f=",
    "volume ls": "0 | cluster@26 filter/f= format= quiet/q",
    "volume prune": "0 | all/a@26 filter= force/f",
    "volume rm": "1- | force/f",
    "volume update": "0-1 @26 | availability=",
    "help": "-",
    "completion": "-",
    "__complete": "raw",
    "__completeNoDesc": "raw",
}

# Other words for a command. The management form is the canonical one: `docker rm` is
# ("container", "rm"). A word that is only known at the top (login, version) stays as it is.
ALIASES = {
    "attach": "container attach",
    "build": "image build",
    "builder build": "image build",
    "checkpoint list": "checkpoint ls",
    "checkpoint remove": "checkpoint rm",
    "commit": "container commit",
    "config list": "config ls",
    "config remove": "config rm",
    "container list": "container ls",
    "container ps": "container ls",
    "container remove": "container rm @26",
    "context list": "context ls",
    "context remove": "context rm",
    "cp": "container cp",
    "create": "container create",
    "diff": "container diff",
    "events": "system events",
    "exec": "container exec",
    "export": "container export",
    "history": "image history",
    "image list": "image ls",
    "image remove": "image rm",
    "image rmi": "image rm",
    "images": "image ls",
    "import": "image import",
    "info": "system info",
    "kill": "container kill",
    "load": "image load",
    "logs": "container logs",
    "network list": "network ls",
    "network remove": "network rm",
    "node list": "node ls",
    "node remove": "node rm",
    "pause": "container pause",
    "plugin list": "plugin ls",
    "plugin remove": "plugin rm",
    "port": "container port",
    "ps": "container ls",
    "pull": "image pull",
    "push": "image push",
    "remove": "container rm @26-26",
    "rename": "container rename",
    "restart": "container restart",
    "rm": "container rm",
    "rmi": "image rm",
    "run": "container run",
    "save": "image save",
    "secret list": "secret ls",
    "secret remove": "secret rm",
    "service list": "service ls",
    "service remove": "service rm",
    "stack down": "stack rm",
    "stack list": "stack ls",
    "stack remove": "stack rm",
    "stack up": "stack deploy",
    "start": "container start",
    "stats": "container stats",
    "stop": "container stop",
    "tag": "image tag",
    "top": "container top",
    "unpause": "container unpause",
    "update": "container update",
    "volume list": "volume ls",
    "volume remove": "volume rm",
    "wait": "container wait",
}
