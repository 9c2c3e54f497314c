# Whole lives of drivers. The kernel's command line says what is done: pvir.drivers=igb,nvme names the drivers, pvir.moves=N,
# pvir.masks=N, pvir.offline=N, pvir.rebinds=N, pvir.reloads=N how often, and pvir.module=no leaves the module out.
. /lib/guest/steps
. /lib/guest/device

drivers=$(word drivers igb | tr , ' ')
moves=$(word moves 8)
masks=$(word masks 100)
offline=$(word offline 1)
rebinds=$(word rebinds 1)
reloads=$(word reloads 0)

life() {
    modprobe "$1" || fail "modprobe $1"
    device=
    until [ -n "$device" ]; do device=$(devices_of "$1" | head -n 1); done
    [ "$1" != nvme ] || bring_up nvme "$device"
    step "$1 load"
    table "$device"
    bring_up "$1" "$device"
    step "$1 request"
    chips "$device" "$1"
    work "$1"
    step "$1 traffic"
    begin_work "$1"
    move_all "$1" "$device" "$moves"
    end_work "$1" moves
    step "$1 moves"
    for irq in $(movable "$1" "$device"); do
        echo "$irq $masks" >/sys/kernel/debug/pvir-test-irq || fail "masking $irq"
    done
    step "$1 masks"
    begin_work "$1"
    round=0
    while [ $round -lt "$offline" ]; do
        offline "$1"
        round=$((round + 1))
        progress "$1 offline" $round
    done
    end_work "$1" offline
    step "$1 offline"
    [ "$1" = nvme ] || ip link set "$nic" down
    step "$1 release"
    round=0
    while [ $round -lt "$rebinds" ]; do
        rebind "$1"
        work "$1"
        round=$((round + 1))
        progress "$1 rebinds" $round
    done
    step "$1 rebinds"
    [ "$1" = nvme ] || ip link set "$nic" down
    rmmod "$1" || fail "rmmod $1"
    step "$1 unload"
}

# The module goes and comes again while a driver has its interrupts.
reload() {
    modprobe "$1" || fail "modprobe $1"
    device=
    until [ -n "$device" ]; do device=$(devices_of "$1" | head -n 1); done
    bring_up "$1" "$device"
    work "$1"
    step "reload load"
    round=0
    while [ $round -lt "$2" ]; do
        begin_work "$1"
        [ $round -gt 0 ] || calls_of_load
        rmmod pvir || fail "rmmod pvir"
        end_work "$1" without
        [ $round -gt 0 ] || chips "$device" without
        left "unloaded $round"
        # Each parameter once.
        case $round in
            0) load_pvir conduit=msr batch=1 ;;
            1) load_pvir "exclude=${device##*/}" ;;
            *) load_pvir ;;
        esac
        rebind "$1"
        work "$1"
        case $round in
            0)
                chips "$device" again
                echo "@guest batch $(sed -n 's/^records-in-a-call //p' /sys/kernel/debug/pvir/host)"
                ;;
            1) chips "$device" excluded ;;
        esac
        round=$((round + 1))
        progress reloads $round
    done
    step "reload cycles"
    ip link set "$nic" down
    rmmod "$1" || fail "rmmod $1"
    step "reload unload"
}

rebind() {
    echo "${device##*/}" >"/sys/bus/pci/drivers/$1/unbind" || fail "unbinding $device"
    echo "${device##*/}" >"/sys/bus/pci/drivers/$1/bind" || fail "binding $device"
    bring_up "$1" "$device"
}

# With these parameters. A host that offers nothing is no failure.
load_pvir() {
    if insmod /lib/guest/modules/pvir.ko "$@"; then
        [ "${round:-0}" -gt 0 ] || echo "@guest pvir is loaded"
    else
        echo "@guest pvir is not loaded"
    fi
}

# What the module has counted since it was loaded.
calls_of_load() {
    calls=/sys/kernel/debug/pvir/calls
    [ ! -e $calls ] || sed 's/^/@guest calls /' $calls
}

# What would grow if something was left behind: interrupts, mappings of the kernel, memory in its caches, in KiB.
left() {
    echo "@guest left $1 irqs=$(ls /proc/irq | wc -l) mappings=$(wc -l </proc/vmallocinfo) slab=$(sed -n 's/^SUnreclaim: *\([0-9]*\).*/\1/p' /proc/meminfo)"
}

mount -t debugfs debugfs /sys/kernel/debug
dd if=/dev/urandom of=/tmp/pattern bs=16k count=16 2>/dev/null
module pvir_test_irq
step start
if [ "$(word module yes)" = yes ]; then
    load_pvir
    step module
fi
for driver in $drivers; do
    case $driver in
        emulated) device_life ;;
        *) life "$driver" ;;
    esac
done
[ "$reloads" = 0 ] || reload igb "$reloads"
calls_of_load
# Nobody has an interrupt any more, and so the host holds no entry.
entries=/sys/kernel/debug/pvir/interrupts
[ ! -e $entries ] || echo "@guest held $(grep -c '^0000:' $entries)"
warned
echo "@guest done"
