# Runs a command as a container would: as another user, below a root that cannot be written to, but for /data.
#
#   unshare --mount --propagation private sh in_image.sh ROOT DATA OPT UID "SEEN …" NAME=VALUE … COMMAND …
#
# ROOT is an empty folder; DATA becomes /data and OPT /opt/chronos; what is SEEN of this machine can be read only.
set -eu
root=$1 data=$2 opt=$3 uid=$4 seen=$5
shift 5
mount -t tmpfs -o size=1m,mode=755 none "$root"
lay() { # from, to
  mkdir -p "$root$2"
  mount --bind "$1" "$root$2"
}
for place in $seen; do
  lay "$place" "$place"
  mount -o remount,bind,ro "$root$place"
done
lay "$opt" /opt/chronos
mount -o remount,bind,ro "$root/opt/chronos"
lay "$data" /data
for link in bin lib lib64 sbin; do
  [ ! -L "/$link" ] || cp -P "/$link" "$root/$link"
done
mkdir -p "$root/dev" "$root/proc" "$root/tmp"
mount --rbind /dev "$root/dev"
mount --rbind /proc "$root/proc"
mount -o remount,ro "$root"
exec chroot --userspec="$uid:$uid" --groups="$uid" "$root" setpriv --no-new-privs env -i "$@"
