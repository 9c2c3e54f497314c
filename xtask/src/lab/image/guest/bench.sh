# Lives of drivers that are measured: pvir.drivers=igb,nvme names them, pvir.moves=N and pvir.masks=N say how often, in all,
# an interrupt is moved, masked and unmasked. With pvir.ask=yes there is a question behind each step, so that what is counted
# up to there belongs to it. Without, there is one, when the first network is up. What each step took is said at the end:
# a console costs exits too.
. /lib/guest/steps

drivers=$(word drivers igb | tr , ' ')
moves=$(word moves 100)
masks=$(word masks 100)
asks=$(word ask no)
tracing=/sys/kernel/tracing
calls=$tracing/events/pvir/pvir_call
network=
took=

# The monotonic clock, in nanoseconds: its file says it in the third line, "now at N nsecs".
clock() {
    { read -r line && read -r line && read -r line line now line; } </proc/timer_list
}

# What the module's calls have taken so far, in nanoseconds, from before each until its status is read.
in_calls() {
    spent=0
    [ ! -e $calls/hist ] || spent=$(sed -n 's/^{.* ns: *\([0-9]*\).*/\1/p' $calls/hist | awk '{ sum += $1 } END { printf "%d", sum }')
}

begin() {
    in_calls
    spent_before=$spent
    clock
    began=$now
}

# The end of a step, and the beginning of the next one.
end() {
    clock
    ended=$now
    in_calls
    took="$took
@guest took $((ended - began)) $((spent - spent_before)) $*"
    [ "$asks" = no ] || ask "after $*"
    begin
}

# Raises the interrupts that can be moved: by igb's EICS (Intel 82576 datasheet, section 8.8.4), e1000e's ICS (Intel 82574
# datasheet, section 10.2.4.3), and an admin command of nvme's.
raise() {
    case $driver in
        igb) devmem $((${bar:?} + 0x1520)) 32 0x3ff ;;
        e1000e) devmem $((${bar:?} + 0xc8)) 32 0x1f00000 ;;
        nvme) echo 1 >/sys/class/nvme/nvme0/rescan_controller ;;
    esac
}

# Whether all of the interrupts that are named are on this CPU.
arrived() {
    wanted=$1
    shift
    for irq in "$@"; do
        read -r at <"/proc/irq/$irq/effective_affinity_list"
        [ "$at" = "$wanted" ] || return 1
    done
}

# Each round moves all of them to the other CPU, and is over when they are there: without a remapping unit Linux moves an
# interrupt only when the next one arrives.
move() {
    cpu=1 done=0
    while [ "$done" -lt "$moves" ]; do
        place $cpu "$@"
        done=$((done + $#)) cpu=$((1 - cpu))
    done
}

place() {
    to=$1
    shift
    for irq in "$@"; do
        echo "$to" >"/proc/irq/$irq/smp_affinity_list" || fail "smp_affinity of $irq"
    done
    until arrived "$to" "$@"; do
        raise
    done
}

life() {
    driver=$1
    begin
    modprobe "$1" || fail "modprobe $1"
    device=
    until [ -n "$device" ]; do device=$(devices_of "$1" | head -n 1); done
    [ "$1" != nvme ] || bring_up nvme "$device"
    end "$1 load"
    table "$device"
    bar=$(sed -n '1s/ .*//p' "$device/resource")
    if [ "$1" != nvme ]; then
        nic=$(ls "$device/net")
        ip addr add 10.0.2.15/24 dev "$nic"
        begin
        ip link set "$nic" up || fail "ip link set $nic up"
        end "$1 request"
        until [ "$(cat "/sys/class/net/$nic/carrier" 2>/dev/null)" = 1 ]; do sleep 0.1; done
        ping -c 1 -W 60 -q $here >/dev/null || fail "no answer to ping"
        end "$1 up"
        if [ -z "$network" ]; then
            network=$nic
            [ "$asks" = yes ] || ask "after network"
        fi
    fi
    irqs=$(movable "$1" "$device")
    # They are wherever the driver and Linux have put them; their numbers are parted by blanks.
    # shellcheck disable=SC2086
    place 0 $irqs
    end "$1 placed"
    # What the asking itself costs.
    end "$1 nothing"
    # shellcheck disable=SC2086
    move $irqs
    end "$1 moves"
    echo "${irqs%%[!0-9]*} $masks" >/sys/kernel/debug/pvir-test-irq || fail "masking"
    end "$1 masks"
    if [ "$1" != nvme ]; then
        ip link set "$nic" down
        end "$1 free"
    fi
    rmmod "$1" || fail "rmmod $1"
    end "$1 unload"
    took="$took
@guest moved $1 $done"
}

mount -t debugfs debugfs /sys/kernel/debug
mount -t tracefs tracefs $tracing
module pvir_test_irq
begin
end boot
if [ "$(word module yes)" = yes ]; then
    insmod /lib/guest/modules/pvir.ko || fail "insmod pvir"
    end module
    echo 'hist:keys=status:values=ns' >$calls/trigger || fail "counting the calls"
fi
for driver in $drivers; do
    life "$driver"
done
echo "$took"
dmesg | grep -v 'ommand line' | grep -E 'WARNING|BUG|Oops|pvir|[Tt]imeout|timed out|lockup|stall|spurious' | sed 's/^/@kernel /'
echo "@guest done"
