# Drives the first network card, and shows on which CPU its interrupts arrive when they are sent to each CPU in turn.
# "@counts WHEN" stands before lines of /proc/interrupts.
. /lib/guest/card

show() {
    sed "s/^/@counts $1 /" /proc/interrupts | grep -e CPU -e "$nic" -e ttyS0
}

sed -n "s/^apicid.*: /@guest apicid /p" /proc/cpuinfo
for device in /sys/bus/pci/devices/*; do
    echo "@guest pci ${device##*/} $(cat "$device/vendor")" "$(cat "$device/device")" "$(cat "$device/class")"
done
load
up
ask
echo "@guest heard $answer"

for cpu in 1 0; do
    move "$cpu"
    show "before-$cpu"
    before=$(counted "$cpu")
    traffic "on $cpu"
    all_came "$cpu" "$before"
    show "after-$cpu"
done
ask again
echo "@guest done"
