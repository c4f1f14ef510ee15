#!/bin/sh
# The users of etcd for one hub: its own, which writes its routes, and Traefik's, which reads them.
# Afterwards etcd takes requests of its users only: mind who else uses it. A second run changes
# nothing.
#
#   ETCD_ROOT_PASSWORD, ETCD_HUB_PASSWORD, ETCD_TRAEFIK_PASSWORD: their passwords.
#   ETCDCTL: how to run etcdctl, "etcdctl" by default.
#   PREFIX: c.EtcdStore.prefix, "traefik" by default.
set -eu

: "${ETCD_ROOT_PASSWORD:?}" "${ETCD_HUB_PASSWORD:?}" "${ETCD_TRAEFIK_PASSWORD:?}"
prefix=${PREFIX:-traefik}
case "$ETCD_ROOT_PASSWORD$ETCD_HUB_PASSWORD$ETCD_TRAEFIK_PASSWORD" in
*[[:space:]]*)
    echo "a password has a space, at which etcdctl would cut it off: choose others" >&2
    exit 1
    ;;
esac

etcdctl() {
    # Several words, if it is to run in a container.
    ${ETCDCTL:-etcdctl} "$@"
}

# Passwords go by standard input, for whoever is on the machine sees command lines.
add_user() {
    printf '%s\n' "$2" | etcdctl user add "$1" --interactive=false
}

# Run etcdctl, or end: well, if etcd has users and therefore answers nobody without a password.
first() {
    if ! said=$(etcdctl "$@" 2>&1 </dev/null); then
        case $said in
        *"user name is empty"* | *"permission denied"*)
            echo "etcd has its users already: nothing is changed"
            exit 0
            ;;
        esac
        printf '%s\n' "$said" >&2
        exit 1
    fi
}

# This one ends if there is no etcd; others wait for it.
first endpoint health
first user list

# What an earlier run that was interrupted has left.
for user in $(etcdctl user list </dev/null); do
    case $user in root | hub | hub-traefik) etcdctl user delete "$user" </dev/null ;; esac
done
for role in $(etcdctl role list </dev/null); do
    case $role in root | hub | hub-traefik) etcdctl role delete "$role" </dev/null ;; esac
done

etcdctl role add root </dev/null
add_user root "$ETCD_ROOT_PASSWORD"
etcdctl user grant-role root root </dev/null

# With a slash for the Hub, without one for Traefik: docs/least-privilege.md says why.
etcdctl role add hub </dev/null
etcdctl role grant-permission hub readwrite "$prefix/" --prefix </dev/null
add_user hub "$ETCD_HUB_PASSWORD"
etcdctl user grant-role hub hub </dev/null

etcdctl role add hub-traefik </dev/null
etcdctl role grant-permission hub-traefik read "$prefix" --prefix </dev/null
add_user hub-traefik "$ETCD_TRAEFIK_PASSWORD"
etcdctl user grant-role hub-traefik hub-traefik </dev/null

etcdctl auth enable </dev/null
