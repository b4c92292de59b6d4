#!/bin/sh
# boot.sh PLACE USER UID CACHE CHECKOUT PYTHON [MEMORY]: in new mount, pid, uts, ipc and cgroup namespaces, make this
# machine's own files the root of a guest (nothing that the guest does reaches them), and become its systemd. PLACE is
# seen by both. With MEMORY the guest has a kernel of its own (User-Mode Linux, an ordinary process of this machine);
# that one takes the paths of scripts on its standard input, and answers each with its exit code.
set -eu
place=$1 user=$2 uid=$3 cache=$4 checkout=$5 python=$6 memory=${7:-}
top=$place/.guest
mount --make-rprivate /
mount -t tmpfs -o mode=755 tmpfs "$top"
mkdir "$top/changes" "$top/work" "$top/root"
mount -t overlay -o "lowerdir=/,upperdir=$top/changes,workdir=$top/work,metacopy=on" overlay "$top/root"
root=$top/root

# a machine that starts nothing but the basics, whatever is installed here
rm -rf "$root/etc/systemd/system" "$root/etc/systemd/user" "$root/var/log/journal" "$root/var/lib/systemd/linger"
mkdir -p "$root/etc/systemd/system" "$root/etc/systemd/user" "$root/var/log/journal" "$root/var/lib/systemd/linger"
for unit in ldconfig.service systemd-binfmt.service systemd-hwdb-update.service systemd-modules-load.service \
    systemd-pcrphase.service systemd-pcrphase-sysinit.service systemd-random-seed.service \
    systemd-remount-fs.service systemd-sysctl.service systemd-sysusers.service systemd-tmpfiles-clean.timer \
    systemd-tmpfiles-setup.service systemd-tmpfiles-setup-dev.service systemd-udev-trigger.service \
    systemd-udevd.service systemd-update-utmp.service; do
    ln -s /dev/null "$root/etc/systemd/system/$unit"
done
cat >"$root/etc/systemd/system/test.target" <<'Y'
[Unit]
Description=Booted for a test
Requires=basic.target dbus.socket systemd-logind.service
After=basic.target dbus.socket systemd-logind.service
Y
ln -s test.target "$root/etc/systemd/system/default.target"
: >"$root/etc/fstab"
echo guest >"$root/etc/hostname"
tr -d - </proc/sys/kernel/random/uuid >"$root/etc/machine-id"

# a person who may read this checkout, its Python and the package cache, and whose units start without a login
chroot "$root" useradd --no-create-home --home-dir "$place/home" --uid "$uid" --shell /bin/bash "$user"
touch "$root/var/lib/systemd/linger/$user"
for directory in "$cache" "$checkout" "$python"; do
    while [ "$directory" != / ]; do
        chmod a+rx "$root$directory"
        directory=$(dirname "$directory")
    done
done
# others may use the cache meanwhile, and files of theirs vanish
chown -R --silent "$uid:$uid" "$root$cache" || :
mkdir -p "$root$place"
mount --bind "$place" "$root$place"

if [ "$memory" ]; then
    cat >"$root/etc/systemd/system/orders.service" <<'Y'
[Service]
ExecStart=/bin/sh -c 'stty raw -echo; echo up; while read -r order; do sh "$order" >"$order.out" 2>&1 </dev/null; echo $?; done'
StandardInput=tty-force
StandardOutput=tty
TTYPath=/dev/ttyS0
Y
    mkdir "$root/etc/systemd/system/test.target.wants"
    ln -s ../orders.service "$root/etc/systemd/system/test.target.wants/orders.service"
    # hostfs gives whatever is made to root; what the guest changes goes into its own memory instead
    cat >"$root/first.sh" <<Y
set -e
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
insmod /usr/lib/uml/modules/*/kernel/fs/overlayfs/overlay.ko
mount -t tmpfs -o mode=755 tmpfs /mnt
mkdir /mnt/changes /mnt/work /mnt/root
mount -t overlay -o lowerdir=/,upperdir=/mnt/changes,workdir=/mnt/work overlay /mnt/root
mount -t hostfs -o $place/orders none /mnt/root$place/orders
cd /mnt/root
pivot_root . mnt
exec chroot . /lib/systemd/systemd
Y
    export TMPDIR=/dev/shm HOME="$top" # its memory is a file there, and what it knows of itself is below HOME
    exec 3<&0 4>&1 </dev/null >&2
    if grep -q -w amx_tile /proc/cpuinfo; then
        cc -shared -fPIC -O2 -o "$top/xstate.so" "$checkout/tests/systemd/xstate.c"
        export LD_PRELOAD="$top/xstate.so"
    fi
    exec setarch --addr-no-randomize linux.uml "mem=$memory" rootfstype=hostfs "rootflags=$root" rw init=/bin/sh \
        con=null con0=null,fd:2 ssl=null ssl0=fd:3,fd:4 -- /first.sh
fi

mount -t tmpfs -o mode=755 tmpfs "$root/run"
mount -t proc proc "$root/proc"
mount --rbind /sys "$root/sys"
umount -R "$root/sys/fs/cgroup"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for device in null zero full random urandom tty; do
    touch "$root/dev/$device"
    mount --bind "/dev/$device" "$root/dev/$device"
done
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts "$root/dev/pts"
mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
cd "$root"
mkdir -p .old
pivot_root . .old
exec chroot . /bin/sh -c 'umount -l /.old; exec env -i container=kaosd-test PATH=/usr/sbin:/usr/bin:/sbin:/bin \
    /lib/systemd/systemd --unit=test.target --log-target=journal --show-status=0'
