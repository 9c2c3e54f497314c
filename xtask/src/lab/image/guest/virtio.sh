# Drives the first network card, a virtio one, and shows what it has negotiated and how often it interrupted.
. /lib/guest/card

load virtio_net
echo "@guest features $(cat "/sys/class/net/$nic/device/features")"
ip addr add 10.0.2.15/24 dev "$nic"
ip link set "$nic" up || fail "ip link set $nic up"
traffic "over virtio"
sed "s/^/@counts after /" /proc/interrupts | grep -e CPU -e virtio
echo "@guest done"
