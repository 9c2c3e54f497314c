# What the scripts share that drive the first network card with its own driver. Every line for the one who looks on starts
# with "@". What is waited for has no limit of time here: the lab ends a guest that says nothing any more.
fail() {
    echo "@guest failed $*"
    exit 1
}

# Waits for an answer, which the one who looks on gives when it has seen the line.
ask() {
    echo "@guest asks $*"
    read -r answer
}

# With its driver, which is igb if no other is named.
load() {
    modprobe "${1:-igb}" || fail "modprobe ${1:-igb}"
    until nic=$(ls /sys/class/net | grep -v lo) && [ -n "$nic" ]; do
        sleep 0.1
    done
    nic=$(echo "$nic" | head -n 1)
    echo "@guest driver $(basename "$(readlink "/sys/class/net/$nic/device/driver")") nic=$nic"
}

# Its driver requests its interrupts.
up() {
    ip addr add 10.0.2.15/24 dev "$nic"
    ip link set "$nic" up || fail "ip link set $nic up"
    until [ "$(cat "/sys/class/net/$nic/carrier" 2>/dev/null)" = 1 ]; do
        sleep 0.1
    done
    # those of its queues
    irqs=$(grep "$nic-" /proc/interrupts | cut -d : -f 1)
    [ -n "$irqs" ] || fail "no interrupt of $nic"
}

# What the card sends and receives comes with interrupts; a name of its own for each ping spreads them over its queues.
traffic() {
    for try in 1 2 3 4 5 6 7 8; do
        ping -c 2 -i 0.1 -W 60 -q 10.0.2.2 >/dev/null || fail "no answer to ping ($1)"
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
    until moved "$1"; do
        traffic "moving to $1"
    done
}

# How many interrupts a CPU has had of each queue.
counted() {
    awk -v queues="$nic-" -v column="$(($1 + 2))" 'index($0, queues) { print $1, $column }' /proc/interrupts
}

# Waits until the CPU has had one of each queue since that was counted: traffic raises those of some, the driver's own
# watchdog those of all, every two seconds.
all_came() {
    while [ -n "$(counted "$1" | grep -Fx "$2")" ]; do
        sleep 0.1
    done
}
