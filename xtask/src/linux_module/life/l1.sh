# Runs a Linux guest and counts what each of its steps takes. The first argument is `pvir` or another name of who runs it,
# the second a command for the shell that starts the VMM. Everything goes to one stream: what the guest says, and behind
# each of its questions what pvir has counted so far, if it is pvir, and what the kernel has, by its tracepoints: "@mmio"
# and "@ioctls" before lines of their histograms. With PVIR_COUNT=exits they are of what came before the VM too, and
# "@exits" and "@user" stand before those of what left a virtual CPU, to the kernel and to the VMM. With PVIR_COUNT=no
# nothing is counted, for what counts takes time. What is in $PVIR_AT_QUESTION is done at each question, with its
# number in $answered and the VMM's process in $vm.
tracing=/sys/kernel/tracing
[ -d $tracing/events ] || mount -t tracefs tracefs $tracing
count=${PVIR_COUNT:-yes}
histogram() {
    if grep -q ^hist "$tracing/events/$1/trigger"; then
        [ "$count" != no ] || echo "!$2" >"$tracing/events/$1/trigger" || exit 1
    elif [ "$count" != no ]; then
        echo "$2" >"$tracing/events/$1/trigger" || exit 1
    fi
}
histogram kvm/kvm_mmio hist:keys=gpa.hex,type:size=4096
histogram syscalls/sys_enter_ioctl hist:keys=cmd.hex
if [ "$count" != yes ]; then
    histogram kvm/kvm_exit hist:keys=exit_reason
    histogram kvm/kvm_userspace_exit hist:keys=reason,errno
fi
shown() {
    sed -n "s/^{/@$1 {/p" "$tracing/events/$2/hist"
}
counted() {
    if [ "$count" != no ]; then
        shown mmio kvm/kvm_mmio
        shown ioctls syscalls/sys_enter_ioctl
    fi
    if [ "$count" = exits ]; then
        shown exits kvm/kvm_exit
        shown user kvm/kvm_userspace_exit
    fi
    echo "@counted"
}
now() {
    read -r uptime rest </proc/uptime
    echo "$uptime"
}
# Lines that have come to their end, which is a carriage return on a console.
end=$(printf '\r')
questions() {
    grep -c "^@guest asks.*$end" /tmp/out
}
reports() {
    grep -c '^@pvir-host .*}$' /tmp/out
}

rm -f /tmp/in
mkfifo /tmp/in
: >/tmp/out
if [ -n "$PVIR_COUNT" ]; then
    {
        echo "@host starts at $(now)"
        counted
    } >>/tmp/out
fi
sh -c "$2" </tmp/in >>/tmp/out 2>/tmp/err &
vm=$!
exec 3>/tmp/in
# What is new goes out soon, as a sign of life.
show() {
    now=$(wc -l </tmp/out)
    [ "$now" -le "$printed" ] || sed -n "$((printed + 1)),${now}p" /tmp/out
    printed=$now
}
answered=0
printed=0
looks=0
while kill -0 $vm 2>/dev/null; do
    if [ "$(questions)" -gt "$answered" ]; then
        answered=$((answered + 1))
        asked=$(now)
        # The line feed may not have come yet.
        echo >>/tmp/out
        if [ "$1" = pvir ]; then
            known=$(reports)
            kill -USR1 $vm
            until [ "$(reports)" -gt "$known" ] || ! kill -0 $vm 2>/dev/null; do
                usleep 20000
            done
        fi
        {
            counted
            echo "@host was asked at $asked"
        } >>/tmp/out
        eval "$PVIR_AT_QUESTION"
        show
        # One that has been killed takes no answer.
        kill -0 $vm 2>/dev/null && echo >&3
    fi
    looks=$((looks + 1))
    [ $((looks % 40)) -ne 0 ] || show
    usleep 50000
done
wait $vm
status=$?
echo >>/tmp/out
show
echo "@ended $status"
sed -n 's/^/@left-on-host /; /vfio-msix/p' /proc/interrupts
cat /tmp/err >&2
