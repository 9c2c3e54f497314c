# Drives the first network card, a virtio one, and shows what it has negotiated and how often it interrupted. Then, if the
# module for pvir is here, takes the card from its driver at work, and goes on with it.
. /lib/guest/steps

# How many of the card's interrupts the host routes by its entries.
routed() {
    echo "@guest routed $(grep -c "^${device##*/} msix .* routed" /sys/kernel/debug/pvir/interrupts)"
}

load virtio_net
echo "@guest features $(cat "/sys/class/net/$nic/device/features")"
virtio=$(readlink -f "/sys/class/net/$nic/device")
device=${virtio%/*}
bring_up virtio_net "$virtio"
traffic "over virtio"
sed "s/^/@counts after /" /proc/interrupts | grep -e CPU -e virtio
table "$device"
step virtio trapped
if [ -e /lib/guest/modules/pvir.ko ]; then
    mount -t debugfs debugfs /sys/kernel/debug
    begin_work virtio
    module pvir
    end_work virtio taken
    step virtio taken
    routed
    work virtio
    step virtio traffic
    begin_work virtio
    move_all virtio "$device" 20
    end_work virtio moves
    step virtio moves
    begin_work virtio
    offline virtio
    end_work virtio offline
    step virtio offline
    echo "${virtio##*/}" >/sys/bus/virtio/drivers/virtio_net/unbind || fail "unbinding $virtio"
    echo "${virtio##*/}" >/sys/bus/virtio/drivers/virtio_net/bind || fail "binding $virtio"
    bring_up virtio_net "$virtio"
    work virtio
    routed
    step virtio rebind
    begin_work virtio
    rmmod pvir || fail "rmmod pvir"
    end_work virtio "given back"
    step virtio given-back
fi
warned
echo "@guest done"
