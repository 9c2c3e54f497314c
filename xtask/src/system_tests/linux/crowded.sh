# Holds all of the host's interrupt vectors but two, by a VM that has the last device and then stands still.
hog=${PVIR_DEVICES##* }
PVIR_DEVICES=${PVIR_DEVICES%% *}
mkfifo /tmp/hog
pvir run --append 'shortage spare=2 checkpoints' --device "vfio=$hog" "$PVIR_KERNEL" </tmp/hog >/tmp/held 2>&1 &
holder=$!
exec 4>/tmp/hog
until grep -q '"name":"spare"' /tmp/held; do
    if ! kill -0 $holder; then
        cat /tmp/held
        exit 1
    fi
    usleep 100000
done
kill -STOP $holder
trap 'kill -KILL $holder' EXIT
