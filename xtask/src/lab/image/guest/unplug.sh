# Drives the first network card, which is unplugged in the way that is answered; then another device comes and is
# taken out, and the card comes again.
. /lib/guest/card
place=/sys/bus/pci/devices/0000:00:01.0

gone() {
    until [ ! -e "$place" ]; do
        sleep 0.1
    done
    echo "@guest gone: $1"
}

ask how
how=$answer
load
up
traffic "before it is unplugged"
ask "host: unplug --device 00:01.0 $how"
gone card
[ ! -e "/sys/class/net/$nic" ] || fail "$nic is still there"
ask "host: plug --device emulated"
until [ -e "$place" ]; do
    sleep 0.1
done
echo "@guest came: $(cat "$place/vendor") $(cat "$place/device")"
ask "host: unplug --device 00:01.0"
gone emulated
ask "host: plug --device vfio=card"
until [ -e "$place" ]; do
    sleep 0.1
done
load
up
traffic "after it was plugged"
echo "@guest works again: $(cat "$place/vendor") $(cat "$place/device")"
echo "@guest done"
