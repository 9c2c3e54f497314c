#!/bin/sh
# The first program of the Linux guest. The word pvir.run=NAME on the kernel's command line names a script of /lib/guest
# to run; without it there is a shell. When that ends, the machine is switched off.
mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys
echo "@guest userland cpus=$(nproc)"
script=
for word in $(cat /proc/cmdline); do
    case $word in pvir.run=*) script=${word#pvir.run=} ;; esac
done
if [ -n "$script" ]; then
    sh "/lib/guest/$script"
else
    echo "@guest asks what to do"
    setsid -c sh
fi
poweroff -f
