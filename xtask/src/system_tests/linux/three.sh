# The name of this shell is the script that runs a guest; the arguments are three commands of pvir: one whose guest goes on
# moving interrupts, one that offers nothing, and one that is refused.
run() {
    echo "@run $1"
    sh -c "$0" sh pvir "$2"
}
unsafe=/sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts

# In the middle of its work: traffic, and moves of interrupts.
PVIR_AT_QUESTION='[ $answered -ne 5 ] || { sleep 2; kill -9 $vm; } &'
export PVIR_AT_QUESTION
run killed "$1"
PVIR_AT_QUESTION=
run absent "$2"
# The host's administrator lets devices interrupt as they please: ENABLE is refused.
echo Y >$unsafe
run refused "$3"
