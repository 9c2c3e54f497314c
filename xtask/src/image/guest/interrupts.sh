# Drives the first network card, and shows on which CPU its interrupts arrive when they are sent to each CPU in turn.
# Every line for the one who looks on starts with "@"; "@counts WHEN" stands before lines of /proc/interrupts.
fail() {
    echo "@guest failed $*"
    exit 1
}

show() {
    sed "s/^/@counts $1 /" /proc/interrupts | grep -e CPU -e "$nic" -e ttyS0
}

# What the card sends and receives comes with interrupts; a name of its own for each ping spreads them over its queues.
traffic() {
    for try in 1 2 3 4 5 6 7 8; do
        ping -c 2 -i 0.1 -W 2 -q 10.0.2.2 >/dev/null || fail "no answer to ping ($1)"
    done
}

# Linux moves an interrupt when the next one arrives, so there have to be some.
moved() {
    for irq in $irqs; do
        [ "$(cat "/proc/irq/$irq/effective_affinity_list")" = "$1" ] || return 1
    done
}

sed -n "s/^apicid.*: /@guest apicid /p" /proc/cpuinfo
for device in /sys/bus/pci/devices/*; do
    echo "@guest pci ${device##*/} $(cat "$device/vendor")" "$(cat "$device/device")" "$(cat "$device/class")"
done
modprobe igb || fail "modprobe igb"
nic=
for try in $(seq 50); do
    nic=$(ls /sys/class/net | grep -v lo | head -n 1)
    [ -n "$nic" ] && break
    sleep 0.1
done
[ -n "$nic" ] || fail "no network card"
echo "@guest driver $(basename "$(readlink "/sys/class/net/$nic/device/driver")") nic=$nic"
ip addr add 10.0.2.15/24 dev "$nic"
ip link set "$nic" up || fail "ip link set $nic up"
for try in $(seq 100); do
    [ "$(cat "/sys/class/net/$nic/carrier" 2>/dev/null)" = 1 ] && break
    sleep 0.1
done
irqs=$(grep "$nic-" /proc/interrupts | cut -d : -f 1)
[ -n "$irqs" ] || fail "no interrupt of $nic"

echo "@guest asks"
read -r answer
echo "@guest heard $answer"

for cpu in 1 0; do
    for irq in $irqs; do
        echo "$cpu" >"/proc/irq/$irq/smp_affinity_list" || fail "smp_affinity of $irq"
    done
    for try in 1 2 3 4 5 6; do
        traffic "moving to $cpu"
        moved "$cpu" && break
    done
    moved "$cpu" || fail "interrupts did not move to CPU $cpu"
    show "before-$cpu"
    traffic "on $cpu"
    # the driver's own watchdog raises all of its interrupts every two seconds
    sleep 5
    show "after-$cpu"
done
echo "@guest asks again"
read -r answer
echo "@guest done"
