# A guest that is saved and goes on in another process, as often as pvir.rounds= says: who looks on does it at each question.
# Meanwhile both CPUs compute with numbers whose result is known. The card is found reset: its driver sets it up again when
# its interface is taken down and up.
. /lib/guest/card
rounds=1
for word in $(cat /proc/cmdline); do
    case $word in pvir.rounds=*) rounds=${word#pvir.rounds=} ;; esac
done
compute() {
    awk 'BEGIN { for (i = 1; i <= 5000; i++) sum += i * 1.5 / (i + 7); printf "%.9f", sum }'
}
uptime() {
    read -r up idle </proc/uptime
    echo "$up"
}
load
up
traffic before
expected=$(compute)
for cpu in 0 1; do
    while [ ! -e /tmp/over ]; do
        [ "$(compute)" = "$expected" ] || echo "@guest failed a sum on loop $cpu"
        echo "$cpu" >>/tmp/computed
    done &
done
round=0
while [ $round -lt "$rounds" ]; do
    round=$((round + 1))
    before=$(uptime)
    ask "to be saved, round $round"
    after=$(uptime)
    echo "@guest uptime $before $after heard $answer"
    # the timers of both CPUs
    sleep 1
    echo "@guest slept $after $(uptime)"
    ip link set "$nic" down
    ip link set "$nic" up
    until [ "$(cat "/sys/class/net/$nic/carrier" 2>/dev/null)" = 1 ]; do
        sleep 0.1
    done
    traffic "after round $round"
    for cpu in 0 1; do
        was=$(grep -c $cpu /tmp/computed)
        until [ "$(grep -c $cpu /tmp/computed)" -gt $((was + 1)) ]; do
            sleep 0.1
        done
    done
    echo "@guest works after round $round"
done
>/tmp/over
dmesg | grep -iE 'unstable|stall|lockup|BUG:|WARNING|Oops|hung' | sed 's/^/@guest kernel /'
echo "@guest done clocksource=$(cat /sys/devices/system/clocksource/clocksource0/current_clocksource)"
