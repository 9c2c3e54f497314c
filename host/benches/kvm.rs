//! What the ways into and out of KVM cost, on this machine's own KVM: those that pvir goes, and those that were tried
//! (`docs/performance.md`, "Tried"). All of a row is taken in one run, interleaved, and told as medians.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on has nothing to tell")]

use kvm_bindings::{
    KVM_CAP_SPLIT_IRQCHIP, KVM_IRQ_ROUTING_MSI, KvmIrqRouting, kvm_enable_cap, kvm_irq_routing_entry,
    kvm_irq_routing_entry__bindgen_ty_1, kvm_irq_routing_msi,
};
use kvm_ioctls::{Kvm, VmFd};
use std::time::Instant;
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

const COUNTS: [u32; 4] = [1, 64, 512, 2048];
const ROUNDS: usize = 7;
const PINS: u32 = 24;

fn main() {
    if std::env::args().any(|word| word == "--test") {
        return;
    }
    let Ok(kvm) = Kvm::new() else {
        println!("skipped: /dev/kvm cannot be opened");
        return;
    };
    println!("microseconds, medians of {ROUNDS} rounds");
    println!(
        "{:>5} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9}",
        "N",
        "eventfds",
        "routes",
        "table",
        "attach",
        "detach",
        "by 2",
        "by 4",
        "by 16",
        "close",
        "to barrier"
    );
    for count in COUNTS {
        let rounds: Vec<[f64; 10]> = (0..ROUNDS).map(|_| round(&kvm, count)).collect();
        let median = |column: usize| {
            let mut figures: Vec<f64> = rounds.iter().map(|round| round[column]).collect();
            figures.sort_by(f64::total_cmp);
            figures[ROUNDS / 2]
        };
        let row: Vec<String> = (0..10).map(|column| format!("{:>9.1}", median(column))).collect();
        println!("{count:>5} {}", row.join(" "));
    }
    println!("eventfds: N made; routes: one KVM_SET_GSI_ROUTING of N; table: making its argument, no ioctl;");
    println!("attach: N KVM_IRQFD; detach: N de-assigned, one by one; by T: the same, shared by T threads;");
    println!(
        "close: N - 1 closed while attached; to barrier: the same, and the last one de-assigned, which waits for all"
    );
}

fn machine(kvm: &Kvm) -> VmFd {
    let vm = kvm.create_vm().unwrap();
    let mut split = kvm_enable_cap { cap: KVM_CAP_SPLIT_IRQCHIP, ..Default::default() };
    split.args[0] = PINS.into();
    vm.enable_cap(&split).unwrap();
    vm
}

fn table(count: u32) -> KvmIrqRouting {
    let mut table = KvmIrqRouting::new(count as usize).unwrap();
    for (gsi, slot) in (PINS..).zip(table.as_mut_slice()) {
        let msi = kvm_irq_routing_msi { address_lo: 0xfee0_0000, data: 0x51, ..Default::default() };
        let u = kvm_irq_routing_entry__bindgen_ty_1 { msi };
        *slot = kvm_irq_routing_entry { gsi, type_: KVM_IRQ_ROUTING_MSI, u, ..Default::default() };
    }
    table
}

/// Microseconds of one of each.
fn round(kvm: &Kvm, count: u32) -> [f64; 10] {
    let vm = machine(kvm);
    let _vcpu = vm.create_vcpu(0).unwrap();
    let (eventfds, making) = timed(|| eventfds(count));
    let (routes, preparing) = timed(|| table(count));
    let ((), routing) = timed(|| vm.set_gsi_routing(&routes).unwrap());
    let ((), attaching) = timed(|| attach(&vm, &eventfds));
    let ((), detaching) = timed(|| detach(&vm, &eventfds, 0));
    let side_by_side = [2, 4, 16].map(|threads| {
        attach(&vm, &eventfds);
        timed(|| detach_by(&vm, &eventfds, threads)).1
    });
    attach(&vm, &eventfds);
    let mut eventfds = eventfds;
    let last = eventfds.split_off(count as usize - 1);
    let ((), closing) = timed(|| drop(eventfds));
    let ((), waiting) = timed(|| detach(&vm, &last, count - 1));
    let [by_2, by_4, by_16] = side_by_side;
    [making, routing, preparing, attaching, detaching, by_2, by_4, by_16, closing, closing + waiting]
}

fn eventfds(count: u32) -> Vec<EventFd> {
    (0..count).map(|_| EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC).unwrap()).collect()
}

fn attach(vm: &VmFd, eventfds: &[EventFd]) {
    (PINS..).zip(eventfds).for_each(|(gsi, eventfd)| vm.register_irqfd(eventfd, gsi).unwrap());
}

fn detach(vm: &VmFd, eventfds: &[EventFd], first: u32) {
    (PINS + first..).zip(eventfds).for_each(|(gsi, eventfd)| vm.unregister_irqfd(eventfd, gsi).unwrap());
}

fn detach_by(vm: &VmFd, eventfds: &[EventFd], threads: usize) {
    let part = eventfds.len().div_ceil(threads);
    std::thread::scope(|scope| {
        for (first, eventfds) in (0..).step_by(part).zip(eventfds.chunks(part)) {
            scope.spawn(move || detach(vm, eventfds, first));
        }
    });
}

fn timed<T>(act: impl FnOnce() -> T) -> (T, f64) {
    let started = Instant::now();
    let result = act();
    (result, started.elapsed().as_secs_f64() * 1e6)
}
