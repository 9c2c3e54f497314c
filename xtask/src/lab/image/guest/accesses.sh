# Has the driver of the first network card request, move and give back its interrupts. The one who looks on is asked before
# and after each, and so knows which accesses are of it.
. /lib/guest/card

load
ask "to request"
up
ask "after that"
sed "s/^/@counts requested /" /proc/interrupts | grep -e CPU -e "$nic"
# All come from CPU 0, so that each has to move, and has had an interrupt there: Linux puts a move off until then.
move 0
all_came 0 "$(counted 0)"
ask "to move"
move 1
ask "after that"
ip link set "$nic" down || fail "ip link set $nic down"
ask "after the release"
echo "@guest done"
