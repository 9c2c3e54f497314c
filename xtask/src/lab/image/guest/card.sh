# What the scripts share that drive the first network card with its own driver. Every line for the one who looks on starts
# with "@".
fail() {
    echo "@guest failed $*"
    exit 1
}

# Waits for an answer, which the one who looks on gives when it has seen the line.
ask() {
    echo "@guest asks $*"
    read -r answer
}

load() {
    modprobe igb || fail "modprobe igb"
    nic=
    for try in $(seq 50); do
        nic=$(ls /sys/class/net | grep -v lo | head -n 1)
        [ -n "$nic" ] && break
        sleep 0.1
    done
    [ -n "$nic" ] || fail "no network card"
    echo "@guest driver $(basename "$(readlink "/sys/class/net/$nic/device/driver")") nic=$nic"
}

# Its driver requests its interrupts.
up() {
    ip addr add 10.0.2.15/24 dev "$nic"
    ip link set "$nic" up || fail "ip link set $nic up"
    for try in $(seq 100); do
        [ "$(cat "/sys/class/net/$nic/carrier" 2>/dev/null)" = 1 ] && break
        sleep 0.1
    done
    # those of its queues
    irqs=$(grep "$nic-" /proc/interrupts | cut -d : -f 1)
    [ -n "$irqs" ] || fail "no interrupt of $nic"
}

# What the card sends and receives comes with interrupts; a name of its own for each ping spreads them over its queues.
traffic() {
    for try in 1 2 3 4 5 6 7 8; do
        ping -c 2 -i 0.1 -W 2 -q 10.0.2.2 >/dev/null || fail "no answer to ping ($1)"
    done
}

# Whether the interrupts of all queues are on a CPU.
moved() {
    for irq in $irqs; do
        [ "$(cat "/proc/irq/$irq/effective_affinity_list")" = "$1" ] || return 1
    done
}

# Sends them there. Linux moves an interrupt when the next one arrives, so there have to be some; the driver's own watchdog
# raises those of all queues every two seconds.
move() {
    for irq in $irqs; do
        echo "$1" >"/proc/irq/$irq/smp_affinity_list" || fail "smp_affinity of $irq"
    done
    for try in 1 2 3 4 5 6; do
        traffic "moving to $1"
        moved "$1" && return
    done
    fail "interrupts did not move to CPU $1"
}
